// The Hopper kernels of one dtype, compiled in a file of their own each.
#pragma once
#include "gemm_wgmma.cuh"

namespace convgpu::gemm {

template <class T, bool kTransA, bool kTransB>
void launch_wgmma(const OnHopper<T, kTransA, kTransB>& p, const hopper::Size& size, const hopper::Maps<T>& a,
                  const hopper::Maps<T>& b, const Device& device, const Workspace& workspace, Stream stream) {
    const hopper::Plan plan = hopper::plan_product(size, device, workspace.bytes);
    // y is contiguous, but its rows need not be whole vectors.
    const hopper::ResultLayout layout{p.N, p.M, 1, size.items, p.y.stride, 0, p.y.item_stride};
    const hopper::ResultMap results = hopper::map_of(p.y.data, layout, p.M);
    hopper::dispatch_tile<T>(plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, false>(gemm_wgmma<T, n.value, cluster.value, kTransA, kTransB>,
                                                               size, plan, device, workspace, stream, a, b, results, p);
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

// T: float or Tf32.
template <class T, bool kTransA, bool kTransB>
void run_scaled(const Problem<float, kTransA, kTransB>& p, int items, const hopper::ScaledFactors& scaled,
                const Device& device, const Workspace& workspace, Stream stream) {
    const auto maps = [](const hopper::ScaledFactor& scaled) {
        const hopper::Factor& f = scaled.from;
        const auto map = [&f](const __half* half) {
            return hopper::panels_of(half, f.items, f.lines, f.length, f.pitch(), f.lines * f.pitch());
        };
        hopper::Maps<T> maps{{map(scaled.high)}};
        if constexpr (hopper::kParts<T> == 2) maps.part[1] = map(scaled.low);
        return maps;
    };
    const auto of_item = [items](const hopper::ScaledFactor& scaled, int rows) {
        return scaled.from.items == items ? rows : 0;
    };
    const OnHopper<T, kTransA, kTransB> on(p, MatrixRows{p.M, of_item(scaled.a, p.M)}, {p.N, of_item(scaled.b, p.N), 1},
                                           scaled, p.K);
    launch_wgmma<T, kTransA, kTransB>(on, {p.M, p.N, p.K, items, hopper::kFactors<T>}, maps(scaled.a), maps(scaled.b),
                                      device, workspace, stream);
}

#define CONVGPU_GEMM_WGMMA(T, TRANS_A, TRANS_B) \
    template void run_wgmma<T>(const Problem<T, TRANS_A, TRANS_B>&, int, const Device&, const Workspace&, Stream);
#define CONVGPU_GEMM_SCALED(T, TRANS_A, TRANS_B)                                                            \
    template void run_scaled<T>(const Problem<float, TRANS_A, TRANS_B>&, int, const hopper::ScaledFactors&, \
                                const Device&, const Workspace&, Stream);
#define CONVGPU_GEMM_LAYOUTS(INSTANCE, T) \
    INSTANCE(T, false, false)             \
    INSTANCE(T, false, true)              \
    INSTANCE(T, true, false)              \
    INSTANCE(T, true, true)

}  // namespace convgpu::gemm
