// The kernels of one dtype, compiled in a file of their own each.
#pragma once
#include "../tile/plan.h"
#include "gemm.h"
#include "gemm_tiled.cuh"

namespace convgpu::gemm {

template <template <class, class, int, int> class Engine, class T, bool kTransA, bool kTransB>
void run(const Problem<T, kTransA, kTransB>& p, int items, const tile::Plan& plan, const Workspace& workspace,
         Stream stream) {
    constexpr int V = tile::kFullVector<T>;
    if (plan.vectors != tile::Vectors::kBoth) {
        return launch_gemm_tiled<Engine, T, 64, 1, 1>(p, items, plan.splits, workspace, stream);
    }
    if constexpr (sizeof(T) < 8) {
        if (plan.tile == 128) return launch_gemm_tiled<Engine, T, 128, V, V>(p, items, plan.splits, workspace, stream);
    }
    launch_gemm_tiled<Engine, T, 64, V, V>(p, items, plan.splits, workspace, stream);
}

#define CONVGPU_GEMM_INSTANCE(ENGINE, T, TRANS_A, TRANS_B) \
    template void run<ENGINE, T>(const Problem<T, TRANS_A, TRANS_B>&, int, const tile::Plan&, const Workspace&, Stream);
#define CONVGPU_GEMM_INSTANCES(ENGINE, T)          \
    CONVGPU_GEMM_INSTANCE(ENGINE, T, false, false) \
    CONVGPU_GEMM_INSTANCE(ENGINE, T, false, true)  \
    CONVGPU_GEMM_INSTANCE(ENGINE, T, true, false)  \
    CONVGPU_GEMM_INSTANCE(ENGINE, T, true, true)

}  // namespace convgpu::gemm
