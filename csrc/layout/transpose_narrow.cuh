// A transpose of matrices that are only a few elements wide or high, where tiles would be mostly empty.
//
// A thread owns one row of a narrow x, or one column of a low x; a block owns kNarrowThreads of these, which are
// neighbours. Layouts: x[batch][rows][columns], y[batch][columns][rows], row-major, with their rows in the orders
// `from` and `to`. Assumes nothing, but is slow where the shorter side is long: a thread's elements on that side are
// neighbours in memory, so that the cache must hold them until the neighbouring threads need them. T is any type of the
// element's size.
// Order: nothing is added.
#pragma once
#include "transpose.h"

namespace convgpu::layout {

constexpr int kNarrowThreads = 256;

template <class T>
__global__ void __launch_bounds__(kNarrowThreads)
    transpose_narrow(const T* __restrict__ x, T* __restrict__ y, const __grid_constant__ Transpose problem,
                     const __grid_constant__ Divisor by_longer) {
    uint64_t rest = uint64_t(blockIdx.x) * kNarrowThreads + threadIdx.x;
    const auto along = static_cast<int64_t>(by_longer.split(rest));
    const auto n = static_cast<int64_t>(rest);
    if (n >= problem.batch) return;
    if (problem.rows > problem.columns) {
#pragma unroll 4
        for (int64_t j = 0; j < problem.columns; ++j) y[problem.y_at(n, along, j)] = x[problem.x_at(n, along, j)];
    } else {
#pragma unroll 4
        for (int64_t i = 0; i < problem.rows; ++i) y[problem.y_at(n, i, along)] = x[problem.x_at(n, i, along)];
    }
}

template <class T>
void launch_transpose_narrow(const T* x, T* y, const Transpose& problem, Stream stream) {
    const int64_t longer = problem.rows > problem.columns ? problem.rows : problem.columns;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((problem.batch * longer + kNarrowThreads - 1) / kNarrowThreads));
    shape.block = dim3(kNarrowThreads);
    launch(transpose_narrow<T>, shape, stream, x, y, problem, Divisor(longer));
}

}  // namespace convgpu::layout
