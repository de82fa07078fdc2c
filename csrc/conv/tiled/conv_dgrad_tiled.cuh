// dgrad by tiles of matrix products that are never written out: gx = activation(gy * w^T + bias), with one product for
// each group and for each phase of pixels that meet the same taps (problem/phases.h).
//
// A block owns one tile of kTile x kTile elements of gx (pixels of one phase times channels of one group), or of one
// part of their sums. tile/simt.h and tile/tensor_core.h say what a thread owns of the tile. Order of summation: as
// these two files say, and k runs over the phase's taps and, for each tap, over the filters. Layouts:
// gy[n][o][p][q][k], w[t][r][s][c][k], gx[n][d][h][w][c]. Assumes that the number of filters of a group is a multiple
// of V, and that vectors of V elements are aligned; V = 1 assumes nothing.
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
    if (work.m >= item.M) work.k_end = work.k_begin;  // this tile is beyond the end of a smaller phase, and has no sums
    tile::compute_tile<Engine, kTile, kTile, V, V>(p, partial, schedule, work);
}

template <template <class, class, int, int> class Engine, class T, int kTile, int V>
void launch_conv_dgrad_tiled(const Dgrad<T>& p, int items, int splits, const Workspace& workspace, Stream stream) {
    tile::launch_tiles<Engine, kTile>(conv_dgrad_tiled<Engine, T, kTile, V>, p, items, splits, workspace, stream);
}

}  // namespace convgpu::conv
