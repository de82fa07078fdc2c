// wgrad by tiles of a matrix product that is never written out (problem/windows.h): gw = x^T * gy over all pixels of
// gy, with one product for each group.
//
// A block owns one tile of kTile x kTile elements of gw (taps and channels times filters of one group), or of one part
// of their sums. tile/simt.h and tile/tensor_core.h say what a thread owns of the tile. Order of summation: as these
// two files say, and k runs over the pixels of gy, image after image. Layouts: x[n][d][h][w][c], gy[n][o][p][q][k],
// gw[t][r][s][c][k]. Assumes that the number of channels of a group is a multiple of VA, that of its filters is a
// multiple of VB, and that such vectors are aligned; VA = VB = 1 assumes nothing.
#pragma once
#include "../../tile/launch_tiles.h"
#include "../problem/wgrad.h"

namespace convgpu::conv {

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB>
__global__ void __launch_bounds__(tile::kThreads, (tile::kResident<Engine, Wgrad<T>, kTile, VA, VB>))
    conv_wgrad_tiled(const __grid_constant__ Wgrad<T> p, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    tile::compute_tile<Engine, kTile, kTile, VA, VB>(p, partial, schedule, schedule.work());
}

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB>
void launch_conv_wgrad_tiled(const Wgrad<T>& p, int groups, int splits, const Workspace& workspace, Stream stream) {
    tile::launch_tiles<Engine, kTile>(conv_wgrad_tiled<Engine, T, kTile, VA, VB>, p, groups, splits, workspace, stream);
}

}  // namespace convgpu::conv
