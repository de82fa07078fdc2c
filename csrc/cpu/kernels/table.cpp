#include "table.h"

#include "pairs.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

template <class T>
constexpr Kernels kernels_of() {
    Kernels k{};
    k.convolve = convolve<T>;
    k.conv_wgrad = conv_wgrad<T>;
    k.gemm = gemm<T>;
    k.max_pool = max_pool<T>;
    k.max_pool_dgrad = max_pool_dgrad<T>;
    k.max_pool_gather = max_pool_gather<T>;
    k.avg_pool = avg_pool<T>;
    k.avg_pool_dgrad = avg_pool_dgrad<T>;
    k.lp_pool = lp_pool<T>;
    k.lp_pool_dgrad = lp_pool_dgrad<T>;
    k.lp_pool_gather = lp_pool_gather<T>;
    k.channel_sum = channel_sum<T>;
    k.activate = activate<T>;
    k.activate_dgrad = activate_dgrad<T>;
    k.add_n = add_n<T>;
    k.binary = binary<T>;
    k.norm_stats = norm_stats<T>;
    k.norm_apply = norm_apply<T>;
    k.norm_dgrad = norm_dgrad<T>;
    k.softmax = softmax<T>;
    k.softmax_dgrad = softmax_dgrad<T>;
    k.cross_entropy = cross_entropy<T>;
    k.cross_entropy_dgrad = cross_entropy_dgrad<T>;
    k.reduce = reduce<T>;
    k.sgd_step = sgd_step<T>;
    k.adam_step = adam_step<T>;
    k.global_norm = global_norm<T>;
    k.cast_all = cast_all<T>;
    k.dropout = dropout<T>;
    k.uniform = uniform<T>;
    k.normal = normal<T>;
    k.integers = integers;
    return k;
}

#if defined(CONVGPU_PAIRS)
constexpr Kernels with_pairs(void (*convolve)(const ConvCall&), void (*conv_wgrad)(const WgradCall&),
                             void (*gemm)(const GemmCall&)) {
    Kernels k = kernels_of<BFloat16>();
    k.convolve = convolve;
    k.conv_wgrad = conv_wgrad;
    k.gemm = gemm;
    return k;
}
#endif

}  // namespace

const Kernels kTable[4] = {kernels_of<Half>(), kernels_of<BFloat16>(), kernels_of<float>(), kernels_of<double>()};
#if defined(CONVGPU_PAIRS)
const Kernels kAmxTable[4] = {kernels_of<Half>(), with_pairs(convolve_amx, conv_wgrad_amx, gemm_amx),
                              kernels_of<float>(), kernels_of<double>()};
const Kernels kPairsTable[4] = {kernels_of<Half>(), with_pairs(convolve_pairs, conv_wgrad_pairs, gemm_pairs),
                                kernels_of<float>(), kernels_of<double>()};
#endif

}  // namespace convgpu::cpu::CONVGPU_ISA
