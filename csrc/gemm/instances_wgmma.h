// The Hopper kernels of one dtype, compiled in a file of their own each.
#pragma once
#include "gemm_wgmma.cuh"

namespace convgpu::gemm {

template <class T, bool kTransA, bool kTransB>
void launch_wgmma(const OnHopper<T, kTransA, kTransB>& p, const hopper::Size& size, const hopper::Maps<T>& a,
                  const hopper::Maps<T>& b, const Device& device, const Workspace& workspace, Stream stream) {
    const hopper::Plan plan = hopper::plan_product(size, device, workspace.bytes);
    hopper::dispatch_tile<T>(plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, false>(gemm_wgmma<T, n.value, cluster.value, kTransA, kTransB>,
                                                               size, plan, device, workspace, stream, a, b, p);
    });
}

template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, int items, const Device& device, const Workspace& workspace,
               Stream stream) {
    const auto maps = [items](const Matrices<const T>& m, int lines, int length) -> hopper::Maps<T> {
        return {{hopper::panels_of(m.data, items, lines, length, m.stride, m.item_stride)}};
    };
    launch_wgmma<T, kTransA, kTransB>(p, {p.M, p.N, p.K, items}, maps(p.left, kTransA ? p.K : p.M, kTransA ? p.M : p.K),
                                      maps(p.right, kTransB ? p.N : p.K, kTransB ? p.K : p.N), device, workspace,
                                      stream);
}

template <bool kTransA, bool kTransB>
void run_pairs(const Problem<float, kTransA, kTransB>& p, int items, const hopper::PairsOfProduct& pairs,
               const Device& device, const Workspace& workspace, Stream stream) {
    const auto maps = [](const hopper::Pairs& of) -> hopper::Maps<float> {
        const hopper::Factor& f = of.from;
        const auto map = [&f](const __half* half) {
            return hopper::panels_of(half, f.items, f.lines, f.length, f.pitch(), f.lines * f.pitch());
        };
        return {{map(of.high), map(of.low)}};
    };
    const auto of_item = [items](const hopper::Pairs& of, int rows) { return of.from.items == items ? rows : 0; };
    const OnHopper<float, kTransA, kTransB> of_pairs(p, MatrixRows{p.M, of_item(pairs.a, p.M)},
                                                     {p.N, of_item(pairs.b, p.N), 1}, pairs);
    launch_wgmma<float, kTransA, kTransB>(of_pairs, {p.M, p.N, p.K, items, 2}, maps(pairs.a), maps(pairs.b), device,
                                          workspace, stream);
}

#define CONVGPU_GEMM_WGMMA(T, TRANS_A, TRANS_B) \
    template void run_wgmma<T>(const Problem<T, TRANS_A, TRANS_B>&, int, const Device&, const Workspace&, Stream);
#define CONVGPU_GEMM_PAIRS(TRANS_A, TRANS_B)                                                             \
    template void run_pairs(const Problem<float, TRANS_A, TRANS_B>&, int, const hopper::PairsOfProduct&, \
                            const Device&, const Workspace&, Stream);
#define CONVGPU_GEMM_WGMMA_INSTANCES(T) \
    CONVGPU_GEMM_WGMMA(T, false, false) \
    CONVGPU_GEMM_WGMMA(T, false, true)  \
    CONVGPU_GEMM_WGMMA(T, true, false)  \
    CONVGPU_GEMM_WGMMA(T, true, true)

}  // namespace convgpu::gemm
