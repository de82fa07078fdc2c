// What the launches of the three directions share.
#pragma once
#include "../common/workspace.h"
#include "../tile/product.h"
#include "../tile/sum_splits.cuh"

namespace convgpu::conv {

// Runs a kernel over all tiles of `items` products p.M x p.N, then adds the parts of their sums.
template <template <class, class, int, int> class Engine, int kTile, template <class> class Problem, class T>
void launch_tiles(void (*kernel)(Problem<T>, tile::Schedule, tile::Partial<Accumulator<T>>), const Problem<T>& p,
                  int items, int splits, const Workspace& workspace, Stream stream) {
    using Memory = tile::Memory<Engine<typename Problem<T>::A, typename Problem<T>::B, kTile, kTile>, kTile, kTile>;
    const tile::Schedule schedule(p.M, p.N, p.K, items, kTile, kTile, splits, tile::kDepth<T>);
    const tile::Partial<Accumulator<T>> partial{static_cast<Accumulator<T>*>(workspace.data), p.M, p.N, splits};
    launch(kernel, schedule.shape(sizeof(Memory)), stream, p, schedule, partial);
    if (splits > 1) tile::launch_sum_splits<T>(partial, p, items, stream);
}

}  // namespace convgpu::conv
