#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

template <class T>
constexpr Kernels kernels_of() {
    return {convolve<T>, conv_wgrad<T>,     gemm<T>,    max_pool<T>,      max_pool_dgrad<T>, max_pool_gather<T>,
            avg_pool<T>, avg_pool_dgrad<T>, lp_pool<T>, lp_pool_dgrad<T>, lp_pool_gather<T>, channel_sum<T>};
}

}  // namespace

const Kernels kTable[4] = {kernels_of<Half>(), kernels_of<BFloat16>(), kernels_of<float>(), kernels_of<double>()};

}  // namespace convgpu::cpu::CONVGPU_ISA
