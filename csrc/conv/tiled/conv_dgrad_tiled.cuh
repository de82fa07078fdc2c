// dgrad by tiles of matrix products that are never written out: gx = activation(gy * w^T + bias), with one product for
// each group and for each phase of pixels that meet the same taps (problem/phases.h).
//
// A block owns one tile of kTile x kTile elements of gx, pixels of one phase times channels of one group, or of one
// part of their sums; what a thread owns of it, and the order of summation, stand in tile/simt.h and
// tile/tensor_core.h, where k counts the phase's taps and then filters. Layouts: gy[n][o][p][q][k], w[t][r][s][c][k],
// gx[n][d][h][w][c]. Assumes that the filters of a group come in whole vectors of V, at aligned addresses; 1 assumes
// nothing.
#pragma once
#include "../../tile/launch_tiles.h"
#include "../problem/dgrad.h"

namespace convgpu::conv {

template <template <class, class, int, int> class Engine, class T, int kTile, int V>
__global__ void __launch_bounds__(tile::kThreads, sizeof(T) > 2 ? 1 : (tile::kResident<Engine, Dgrad<T>, kTile, V, V>))
    conv_dgrad_tiled(const __grid_constant__ Dgrad<T> p, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    tile::Work work = schedule.work();
    const auto item = p.item(work.item);
    if (work.k_end > item.K) work.k_end = item.K;
    if (work.m >= item.M) work.k_end = work.k_begin;  // the tile is beyond the end of a smaller phase, and has no sums
    tile::compute_tile<Engine, kTile, kTile, V, V>(p, partial, schedule, work);
}

template <template <class, class, int, int> class Engine, class T, int kTile, int V>
void launch_conv_dgrad_tiled(const Dgrad<T>& p, int items, int splits, const Workspace& workspace, Stream stream) {
    tile::launch_tiles<Engine, kTile>(conv_dgrad_tiled<Engine, T, kTile, V>, p, items, splits, workspace, stream);
}

}  // namespace convgpu::conv
