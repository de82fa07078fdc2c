// The tiled engine, which runs gemm_tiled for any dtype. Its instances are compiled from instances.h, in one file for
// each dtype.
#pragma once
#include "../../common/workspace.h"
#include "../../tile/simt.h"
#include "../../tile/tensor_core.h"
#include "../plan.h"
#include "../problem.h"

namespace convgpu::gemm {

// Runs gemm_tiled, whose blocks multiply by Engine: tile::Simt or tile::TensorCore.
template <template <class, class, int, int> class Engine, class T, bool kTransA, bool kTransB>
void launch_tiled(const Problem<T, kTransA, kTransB>& p, int items, const tile::Plan& plan, const Workspace& workspace,
                  Stream stream);

// Runs gemm_tiled as the plan says.
template <class T, bool kTransA, bool kTransB>
void run_tiled(const Problem<T, kTransA, kTransB>& p, const Plan& plan, const Workspace& workspace, Stream stream) {
    const auto items = static_cast<int>(plan.sizes.items);
    if constexpr (sizeof(T) == 2) {
        launch_tiled<tile::TensorCore>(p, items, plan.tiled, workspace, stream);
    } else if constexpr (sizeof(T) == 8) {
        launch_tiled<tile::Simt>(p, items, plan.tiled, workspace, stream);
    } else {
        plan.tiled.tensor_core ? launch_tiled<tile::TensorCore>(p, items, plan.tiled, workspace, stream)
                               : launch_tiled<tile::Simt>(p, items, plan.tiled, workspace, stream);
    }
}

}  // namespace convgpu::gemm
