// The gradient of the filters by tiles of an implicit matrix product: gw = x^T * gy over all pixels of gy, one product
// for each group.
//
// A block owns one tile of kTile x kTile elements of gw, taps and channels times filters of one group, or of one part
// of their sums; what a thread owns of it, and the order of summation, stand in tile/simt.h and tile/tensor_core.h,
// where k counts the pixels of gy, image after image. Layouts: x[n][d][h][w][c], gy[n][o][p][q][k], gw[t][r][s][c][k].
// Assumes that the channels of a group come in whole vectors of VA, its filters in whole vectors of VB, at aligned
// addresses; 1 assumes nothing.
#pragma once
#include "../../tile/launch_tiles.h"
#include "../problem/windows.h"

namespace convgpu::conv {

// gw of one group, in T or in the type that its sums have.
template <class T>
struct WgradResult {
    using Sum = Accumulator<T>;

    void* gw;
    int64_t first, stride;  // elements
    int M, N;
    bool wide, adds, vectors;

    template <class Use>
    __device__ __forceinline__ void visit(Use use) const {
        if constexpr (std::is_same_v<T, Sum>) return use(matrix<T>());
        wide ? use(matrix<Sum>()) : use(matrix<T>());
    }

    __device__ __forceinline__ bool is_nan(int m, int n) const {
        return wide ? matrix<Sum>().is_nan(m, n) : matrix<T>().is_nan(m, n);
    }

private:
    template <class R>
    __device__ __forceinline__ tile::Result<R, tile::EvenRows> matrix() const {
        R* to = static_cast<R*>(gw) + first;
        tile::Epilogue<R> epilogue;
        if (adds) epilogue.c = to, epilogue.c_row = stride, epilogue.c_column = 1;
        return {to, {stride}, M, N, epilogue, vectors};
    }
};

// gw as a matrix of taps and channels times filters; K counts the pixels of gy.
template <class T>
struct Wgrad {
    using A = tile::Transposed<PixelSource<T>>;
    using B = tile::MatrixSource<T, false>;

    const T *x, *gy;
    void* gw;
    Windows windows;
    int M, N, K, channels;  // N and channels are those of a group
    int64_t filters;        // of all groups
    bool wide;              // gw is of the sums' type
    bool adds;              // to what is in gw
    bool vectors;           // of gw
    tile::Marks wanted{};

    __device__ __forceinline__ A a(int group) const {
        return {{x + int64_t(group) * channels, windows.images, windows.d, windows.h, windows.w, K, M, windows.holes}};
    }
    __device__ __forceinline__ B b(int group) const { return {gy + int64_t(group) * N, filters, N, K}; }
    __device__ __forceinline__ WgradResult<T> operator()(int group) const {
        return {gw, int64_t(group) * N, filters, M, N, wide, adds, vectors};
    }
};

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
