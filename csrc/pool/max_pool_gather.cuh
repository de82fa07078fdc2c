// Reads the elements at the offsets of max pooling: those of another x (the gradient of max_pool_dgrad), or their
// indices.
//
// A thread owns V neighbouring channels of one output pixel; a block owns kThreads of these, which are neighbours in y.
// Layouts: x[n][d][h][w][c], offsets[n][o][p][q][c], y and indices like offsets.
// Assumes that V divides the channels, and that offsets, y and indices are aligned to a vector (16 bytes at most). An
// offset outside its window or the input gives 0.
// Order: nothing is added.
#pragma once
#include "../common/vector.h"
#include "threads.h"

namespace convgpu::pool {

// Returns the pixel of image n under a tap of output `out`, as a flat index over the spatial axes, or -1 outside the
// input.
__device__ __forceinline__ int64_t pixel_of(const Problem& problem, const Position& out, uint64_t offset) {
    const Axis &depth = problem.axis[0], &height = problem.axis[1], &width = problem.axis[2];
    const auto s = static_cast<int>(problem.by_window[1].split(offset));
    const auto r = static_cast<int>(problem.by_window[0].split(offset));
    const uint64_t t = offset;
    const Range ts = depth.inside(out.at[0]), rs = height.inside(out.at[1]), ss = width.inside(out.at[2]);
    if (t >= uint64_t(depth.window) || !ts.holds(static_cast<int>(t)) || !rs.holds(r) || !ss.holds(s)) return -1;
    const int d = depth.start(out.at[0]) + static_cast<int>(t) * depth.dilation;
    const int h = height.start(out.at[1]) + r * height.dilation, w = width.start(out.at[2]) + s * width.dilation;
    return (int64_t(d) * height.size + h) * width.size + w;
}

template <class T, class Offset, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    max_pool_gather(const T* __restrict__ x, const Offset* __restrict__ offsets, T* __restrict__ y,
                    const __grid_constant__ Problem problem, const __grid_constant__ Places outputs) {
    Position out;
    if (!outputs.find(thread_number(), out)) return;
    const int64_t at = problem.y_at(out);
    const T* image = x + problem.x_at(out.n, 0, 0, 0, out.c);
    const auto winner = load<V>(offsets + at);
    Vector<T, V> result;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const int64_t pixel = pixel_of(problem, out, static_cast<uint64_t>(winner.at[v]));
        result.at[v] = pixel < 0 ? static_cast<T>(0.0f) : image[pixel * problem.channels + v];
    }
    store(y + at, result);
}

template <class Offset, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    max_pool_indices(const Offset* __restrict__ offsets, int64_t* __restrict__ indices,
                     const __grid_constant__ Problem problem, const __grid_constant__ Places outputs) {
    Position out;
    if (!outputs.find(thread_number(), out)) return;
    const int64_t at = problem.y_at(out);
    const auto winner = load<V>(offsets + at);
    Vector<int64_t, V> result;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const int64_t pixel = pixel_of(problem, out, static_cast<uint64_t>(winner.at[v]));
        result.at[v] = pixel < 0 ? 0 : pixel;
    }
    store(indices + at, result);
}

template <class T, class Offset, int V>
void launch_max_pool_gather(const T* x, const Offset* offsets, T* y, const Problem& problem, Stream stream) {
    const Places outputs = places_of_y(problem, V);
    launch(max_pool_gather<T, Offset, V>, one_thread_each(outputs.count()), stream, x, offsets, y, problem, outputs);
}

template <class Offset, int V>
void launch_max_pool_indices(const Offset* offsets, int64_t* indices, const Problem& problem, Stream stream) {
    const Places outputs = places_of_y(problem, V);
    launch(max_pool_indices<Offset, V>, one_thread_each(outputs.count()), stream, offsets, indices, problem, outputs);
}

}  // namespace convgpu::pool
