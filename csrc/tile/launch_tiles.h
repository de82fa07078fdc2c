// Launches the kernels over tiles.
#pragma once
#include "../common/workspace.h"
#include "product.h"
#include "sum_splits.cuh"

namespace convgpu::tile {

// Runs a kernel over all tiles of `items` products of p.M x p.N elements, and then adds the parts of their sums.
template <template <class, class, int, int> class EngineOf, int kTile, class Problem, class Sum>
void launch_tiles(void (*kernel)(Problem, Schedule, Partial<Sum>), const Problem& p, int items, int splits,
                  const Workspace& workspace, Stream stream) {
    using Engine = EngineOf<typename Problem::A, typename Problem::B, kTile, kTile>;
    const Schedule schedule(p.M, p.N, p.K, items, kTile, kTile, splits, Engine::kDepth);
    const Partial<Sum> partial{static_cast<Sum*>(workspace.data), p.M, p.N, splits, p.wanted};
    launch(kernel, schedule.shape(sizeof(Memory<Engine, kTile, kTile>)), stream, p, schedule, partial);
    if (splits > 1) launch_sum_splits<typename Problem::A::Element>(partial, p, items, stream);
}

}  // namespace convgpu::tile
