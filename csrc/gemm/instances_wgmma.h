// The Hopper kernels of one half type, compiled in a file of their own each.
#pragma once
#include "gemm_wgmma.cuh"

namespace convgpu::gemm {

template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, int items, const hopper::Plan& plan, int multiprocessors,
               const Workspace& workspace, Stream stream) {
    const auto run = [&](auto tile_n, auto cluster) {
        launch_gemm_wgmma<T, decltype(tile_n)::value, decltype(cluster)::value>(p, items, plan.splits, multiprocessors,
                                                                                workspace, stream);
    };
    const std::integral_constant<int, 1> one;
    const std::integral_constant<int, 2> two;
    if (plan.tile_n == 64) return run(std::integral_constant<int, 64>(), one);
    if (plan.tile_n == 128) {
        const std::integral_constant<int, 128> n;
        return plan.cluster == 2 ? run(n, two) : run(n, one);
    }
    const std::integral_constant<int, 256> n;
    plan.cluster == 2 ? run(n, two) : run(n, one);
}

#define CONVGPU_GEMM_WGMMA(T, TRANS_A, TRANS_B)                                                                      \
    template void run_wgmma<T>(const Problem<T, TRANS_A, TRANS_B>&, int, const hopper::Plan&, int, const Workspace&, \
                               Stream);
#define CONVGPU_GEMM_WGMMA_INSTANCES(T) \
    CONVGPU_GEMM_WGMMA(T, false, false) \
    CONVGPU_GEMM_WGMMA(T, false, true)  \
    CONVGPU_GEMM_WGMMA(T, true, false)  \
    CONVGPU_GEMM_WGMMA(T, true, true)

}  // namespace convgpu::gemm
