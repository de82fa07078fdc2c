// The kernels of one dtype, compiled in a file of their own each.
#pragma once
#include "../tile/plan.h"
#include "gemm.h"
#include "gemm_tiled.cuh"

namespace convgpu::gemm {

template <template <class, class, int, int> class Engine, class T>
void run(const Problem<T>& p, int items, const Options& options, const tile::Plan& plan, const Workspace& workspace,
         Stream stream);

template <template <class, class, int, int> class Engine, class T, bool kTransA, bool kTransB>
void run_layout(const Problem<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream) {
    constexpr int V = tile::kFullVector<T>;
    if (plan.vectors != tile::Vectors::kBoth) {
        return launch_gemm_tiled<Engine, T, 64, 1, 1, kTransA, kTransB>(p, items, plan.splits, workspace, stream);
    }
    if constexpr (sizeof(T) < 8) {
        if (plan.tile == 128) {
            return launch_gemm_tiled<Engine, T, 128, V, V, kTransA, kTransB>(p, items, plan.splits, workspace, stream);
        }
    }
    launch_gemm_tiled<Engine, T, 64, V, V, kTransA, kTransB>(p, items, plan.splits, workspace, stream);
}

#define CONVGPU_GEMM_INSTANCES(ENGINE, T)                                                                  \
    template <>                                                                                            \
    void run<ENGINE, T>(const Problem<T>& p, int items, const Options& options, const tile::Plan& plan,    \
                        const Workspace& workspace, Stream stream) {                                       \
        if (options.trans_a && options.trans_b)                                                            \
            return run_layout<ENGINE, T, true, true>(p, items, plan, workspace, stream);                   \
        if (options.trans_a) return run_layout<ENGINE, T, true, false>(p, items, plan, workspace, stream); \
        if (options.trans_b) return run_layout<ENGINE, T, false, true>(p, items, plan, workspace, stream); \
        run_layout<ENGINE, T, false, false>(p, items, plan, workspace, stream);                            \
    }

}  // namespace convgpu::gemm
