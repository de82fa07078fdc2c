// A transpose through shared memory, so that reads and writes are both in long runs.
//
// A block owns one tile of kTile x kTile elements; a thread carries vectors of kIn elements of x into the tile and of
// kOut elements of y out of it.
// Layouts: x[batch][rows][columns], y[batch][columns][rows], row-major, their rows in the orders `from` and `to`.
// Assumes kIn divides the columns, kOut the rows (or 1), and alignment to vectors. T is any type of the element's size.
// Order: nothing is added.
#pragma once
#include "../common/vector.h"
#include "transpose.h"

namespace convgpu::layout {

constexpr int kTile = 64, kTiledThreads = 256;

// A line of the tile ends with one word of padding (4 bytes, or one element if that is more), so that the elements of a
// column lie in different banks.
template <class T>
constexpr int kPitch = kTile + (sizeof(T) < 4 ? 4 / sizeof(T) : 1);

template <class T>
struct TileMemory {
    T at[kTile][kPitch<T>];
};

template <class T, int kIn, int kOut>
__global__ void __launch_bounds__(kTiledThreads)
    transpose_tiled(const T* __restrict__ x, T* __restrict__ y, const __grid_constant__ Transpose problem,
                    const __grid_constant__ Divisor by_row_tiles, const __grid_constant__ Divisor by_column_tiles) {
    auto& tile = dyn_smem<TileMemory<T>>();
    uint64_t rest = blockIdx.x;
    const int64_t row = static_cast<int64_t>(by_row_tiles.split(rest)) * kTile;  // neighbouring blocks share rows of y
    const int64_t column = static_cast<int64_t>(by_column_tiles.split(rest)) * kTile;
    const auto n = static_cast<int64_t>(rest);

    constexpr int kInPerRow = kTile / kIn, kOutPerRow = kTile / kOut;
#pragma unroll
    for (int k = 0; k < kTile * kInPerRow; k += kTiledThreads) {
        const int at = k + static_cast<int>(threadIdx.x), i = at / kInPerRow, j = at % kInPerRow * kIn;
        if (row + i >= problem.rows || column + j >= problem.columns) continue;
        const auto vector = load<kIn>(x + problem.x_at(n, row + i, column + j));
#pragma unroll
        for (int v = 0; v < kIn; ++v) tile.at[i][j + v] = vector.at[v];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTile * kOutPerRow; k += kTiledThreads) {
        const int at = k + static_cast<int>(threadIdx.x), j = at / kOutPerRow, i = at % kOutPerRow * kOut;
        if (row + i >= problem.rows || column + j >= problem.columns) continue;
        Vector<T, kOut> vector;
#pragma unroll
        for (int v = 0; v < kOut; ++v) vector.at[v] = tile.at[i + v][j];
        store(y + problem.y_at(n, row + i, column + j), vector);
    }
}

template <class T, int kIn, int kOut>
void launch_transpose_tiled(const T* x, T* y, const Transpose& problem, Stream stream) {
    const int64_t row_tiles = (problem.rows + kTile - 1) / kTile, column_tiles = (problem.columns + kTile - 1) / kTile;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(problem.batch * row_tiles * column_tiles));
    shape.block = dim3(kTiledThreads);
    shape.shared_bytes = sizeof(TileMemory<T>);
    launch(transpose_tiled<T, kIn, kOut>, shape, stream, x, y, problem, Divisor(row_tiles), Divisor(column_tiles));
}

}  // namespace convgpu::layout
