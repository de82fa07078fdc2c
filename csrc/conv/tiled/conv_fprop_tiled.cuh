// Convolution by tiles of an implicit matrix product: y = activation(x * w + bias), one product for each group.
//
// A block owns one tile of kTile x kTile elements of y, pixels times filters of one group, or of one part of their
// sums; what a thread owns of it, and the order of summation, stand in tile/simt.h and tile/tensor_core.h, where k
// counts taps and then channels. Layouts: x[n][d][h][w][c], w[t][r][s][c][k], y[n][o][p][q][k]. Assumes that the
// channels of a group come in whole vectors of VA, its filters in whole vectors of VB, at aligned addresses; 1 assumes
// nothing.
#pragma once
#include "../../tile/launch_tiles.h"
#include "../problem/windows.h"

namespace convgpu::conv {

// y as a matrix of pixels times filters; K counts the taps and channels.
template <class T>
struct Fprop {
    using A = PixelSource<T>;
    using B = tile::MatrixSource<T, false>;

    const T *x, *w;
    T* y;
    Windows windows;
    int M, N, K, channels;  // N and channels are those of a group
    int64_t filters;        // of all groups
    tile::Epilogue<T> epilogue;
    bool vectors;  // of y
    tile::Marks wanted{};

    __device__ __forceinline__ A a(int group) const {
        return {x + int64_t(group) * channels, windows.images, windows.d, windows.h, windows.w, M, K, windows.holes};
    }
    __device__ __forceinline__ B b(int group) const { return {w + int64_t(group) * N, filters, N, K}; }
    __device__ __forceinline__ tile::Result<T, tile::EvenRows> operator()(int group) const {
        const int64_t first = int64_t(group) * N;
        return {y + first, {filters}, M, N, epilogue.from_column(first), vectors};
    }
};

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB>
__global__ void __launch_bounds__(tile::kThreads, (tile::kResident<Engine, Fprop<T>, kTile, VA, VB>))
    conv_fprop_tiled(const __grid_constant__ Fprop<T> p, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    tile::compute_tile<Engine, kTile, kTile, VA, VB>(p, partial, schedule, schedule.work());
}

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB>
void launch_conv_fprop_tiled(const Fprop<T>& p, int groups, int splits, const Workspace& workspace, Stream stream) {
    tile::launch_tiles<Engine, kTile>(conv_fprop_tiled<Engine, T, kTile, VA, VB>, p, groups, splits, workspace, stream);
}

}  // namespace convgpu::conv
