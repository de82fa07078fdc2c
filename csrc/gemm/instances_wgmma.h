// The Hopper kernels of one half type, compiled in a file of their own each.
#pragma once
#include "gemm_wgmma.cuh"

namespace convgpu::gemm {

template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, int items, const hopper::Plan& plan, const Device& device,
               const Workspace& workspace, Stream stream) {
    const auto map = [items](const Matrices<const T>& m, int lines, int length) {
        return hopper::panels_of(m.data, items, lines, length, m.stride, m.item_stride);
    };
    hopper::dispatch_tile(plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, false>(
            gemm_wgmma<T, n.value, cluster.value, kTransA, kTransB>, {p.M, p.N, p.K, items}, plan, device, workspace,
            stream, map(p.left, kTransA ? p.K : p.M, kTransA ? p.M : p.K),
            map(p.right, kTransB ? p.N : p.K, kTransB ? p.K : p.N), p);
    });
}

#define CONVGPU_GEMM_WGMMA(T, TRANS_A, TRANS_B)                                                                      \
    template void run_wgmma<T>(const Problem<T, TRANS_A, TRANS_B>&, int, const hopper::Plan&, const Device&,         \
                               const Workspace&, Stream);
#define CONVGPU_GEMM_WGMMA_INSTANCES(T) \
    CONVGPU_GEMM_WGMMA(T, false, false) \
    CONVGPU_GEMM_WGMMA(T, false, true)  \
    CONVGPU_GEMM_WGMMA(T, true, false)  \
    CONVGPU_GEMM_WGMMA(T, true, true)

}  // namespace convgpu::gemm
