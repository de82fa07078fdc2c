// Leads from a plan to an instance of gemm_wgmma. For each dtype, the build compiles what ../instances.json lists.
#pragma once
#include "gemm_wgmma.cuh"

namespace convgpu::gemm {

template <class T, bool kTransA, bool kTransB>
void launch_wgmma(const OnHopper<T, kTransA, kTransB>& p, const hopper::Maps<T>& a, const hopper::Maps<T>& b,
                  const Plan& plan, const Workspace& workspace, Stream stream) {
    const hopper::Size size{p.M, p.N, p.K, plan.sizes.items, plan.wgmma.factors};
    // y is contiguous, but its rows need not be whole vectors of 16 bytes.
    const hopper::ResultLayout layout{p.N, p.M, 1, size.items, p.y.stride, 0, p.y.item_stride};
    const hopper::ResultMap results = hopper::map_of(p.y.data, layout, p.M);
    hopper::dispatch_tile<T>(plan.wgmma, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, false>(gemm_wgmma<T, n.value, cluster.value, kTransA, kTransB>,
                                                               size, plan.wgmma, plan.device, workspace, stream, a, b,
                                                               results, p);
    });
}

template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, const Plan& plan, const Workspace& workspace, Stream stream) {
    const auto maps = [&plan](const Matrices<const T>& m, int lines, int length) -> hopper::Maps<T> {
        return {{hopper::panels_of(m.data, plan.sizes.items, lines, length, m.stride, m.item_stride)}};
    };
    launch_wgmma<T, kTransA, kTransB>(p, maps(p.left, kTransA ? p.K : p.M, kTransA ? p.M : p.K),
                                      maps(p.right, kTransB ? p.N : p.K, kTransB ? p.K : p.N), plan, workspace, stream);
}

template <class T, bool kTransA, bool kTransB>
void run_scaled(const Problem<float, kTransA, kTransB>& p, const Plan& plan, const hopper::ScaledFactors& scaled,
                const Workspace& workspace, Stream stream) {
    const auto maps = [](const hopper::ScaledFactor& scaled) {
        const hopper::Factor& f = scaled.from;
        const auto map = [&f](const __half* half) {
            return hopper::panels_of(half, f.items, f.lines, f.length, f.pitch(), f.lines * f.pitch());
        };
        hopper::Maps<T> maps{{map(scaled.high)}};
        if constexpr (hopper::kParts<T> == 2) maps.part[1] = map(scaled.low);
        return maps;
    };
    const OnHopper<T, kTransA, kTransB> on(p, MatrixRows{p.M, plan.sizes.one_a ? 0 : p.M},
                                           {p.N, plan.sizes.one_b ? 0 : p.N, 1}, scaled, p.K);
    launch_wgmma<T, kTransA, kTransB>(on, maps(scaled.a), maps(scaled.b), plan, workspace, stream);
}

#define CONVGPU_GEMM_WGMMA_LAYOUT(T, TRANS_A, TRANS_B) \
    template void run_wgmma<T>(const Problem<T, TRANS_A, TRANS_B>&, const Plan&, const Workspace&, Stream);
#define CONVGPU_GEMM_SCALED_LAYOUT(T, TRANS_A, TRANS_B)                                                             \
    template void run_scaled<T>(const Problem<float, TRANS_A, TRANS_B>&, const Plan&, const hopper::ScaledFactors&, \
                                const Workspace&, Stream);
#define CONVGPU_GEMM_LAYOUTS(INSTANCE, T) \
    INSTANCE(T, false, false)             \
    INSTANCE(T, false, true)              \
    INSTANCE(T, true, false)              \
    INSTANCE(T, true, true)
#define CONVGPU_GEMM_WGMMA(T) CONVGPU_GEMM_LAYOUTS(CONVGPU_GEMM_WGMMA_LAYOUT, T)
#define CONVGPU_GEMM_SCALED(T) CONVGPU_GEMM_LAYOUTS(CONVGPU_GEMM_SCALED_LAYOUT, T)

}  // namespace convgpu::gemm
