// Leads from a plan to an instance of gemm_tiled. For each dtype, the build compiles what ../instances.json lists.
#pragma once
#include "gemm_tiled.cuh"
#include "tiled.h"

namespace convgpu::gemm {

template <template <class, class, int, int> class Engine, class T, bool kTransA, bool kTransB>
void launch_tiled(const Problem<T, kTransA, kTransB>& p, int items, const tile::Plan& plan, const Workspace& workspace,
                  Stream stream) {
    constexpr int V = tile::kFullVector<T>;
    const auto launch = [&](auto kernel, auto tile) {
        tile::launch_tiles<Engine, tile.value>(kernel, p, items, plan.splits, workspace, stream);
    };
    const std::integral_constant<int, 64> small;
    const std::integral_constant<int, 128> large;
    if (plan.vectors != tile::Vectors::kBoth) {
        return launch(gemm_tiled<Engine, T, small.value, 1, 1, kTransA, kTransB>, small);
    }
    if constexpr (sizeof(T) < 8) {
        if (plan.tile == large.value) return launch(gemm_tiled<Engine, T, large.value, V, V, kTransA, kTransB>, large);
    }
    launch(gemm_tiled<Engine, T, small.value, V, V, kTransA, kTransB>, small);
}

#define CONVGPU_GEMM_TILED_LAYOUT(ENGINE, T, TRANS_A, TRANS_B)                                         \
    template void launch_tiled<ENGINE, T>(const Problem<T, TRANS_A, TRANS_B>&, int, const tile::Plan&, \
                                          const Workspace&, Stream);
#define CONVGPU_GEMM_TILED(ENGINE, T)                  \
    CONVGPU_GEMM_TILED_LAYOUT(ENGINE, T, false, false) \
    CONVGPU_GEMM_TILED_LAYOUT(ENGINE, T, false, true)  \
    CONVGPU_GEMM_TILED_LAYOUT(ENGINE, T, true, false)  \
    CONVGPU_GEMM_TILED_LAYOUT(ENGINE, T, true, true)

}  // namespace convgpu::gemm
