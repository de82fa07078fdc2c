// The input gradient of max pooling where the stride is the window: every window writes its own pixels.
//
// A thread owns V neighbouring channels of one window, and writes each of its pixels once. Pixels that are left over at
// the end of an axis make windows of their own, which nothing has won. A block owns kThreads windows, which are
// neighbours in gy.
// Layouts: gy[n][o][p][q][c], offsets like gy, gx[n][d][h][w][c].
// Assumes stride == window, no dilation, that V divides the channels, and alignment to a vector (16 bytes at most).
// Order: nothing is added.
#pragma once
#include "../common/vector.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, class Offset, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    max_pool_dgrad_disjoint(const T* __restrict__ gy, const Offset* __restrict__ offsets, T* __restrict__ gx,
                            const __grid_constant__ Problem problem, const __grid_constant__ Places windows) {
    Position out;
    if (!windows.find(thread_number(), out)) return;
    const Axis &depth = problem.axis[0], &height = problem.axis[1], &width = problem.axis[2];
    Vector<T, V> g{};
    Vector<Offset, V> winner{};
    if (out.at[0] < depth.output && out.at[1] < height.output && out.at[2] < width.output) {
        const int64_t at = problem.y_at(out);
        g = load<V>(gy + at);
        winner = load<V>(offsets + at);
    }
    const Window window = problem.window<true>(out);
    for (int t = window.t.begin; t < window.t.end; ++t) {
        for (int r = window.r.begin; r < window.r.end; ++r) {
            for (int s = window.s.begin; s < window.s.end; ++s) {
                const auto mine = static_cast<Offset>(problem.offset_of(t, r, s));
                Vector<T, V> pixel{};
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    if (winner.at[v] == mine) pixel.at[v] = g.at[v];
                }
                store(gx + problem.tap_at(window, t, r, s), pixel);
            }
        }
    }
}

template <class T, class Offset, int V>
void launch_max_pool_dgrad_disjoint(const T* gy, const Offset* offsets, T* gx, const Problem& problem, Stream stream) {
    int extent[kAxes];
    for (int a = 0; a < kAxes; ++a) {
        const Axis& axis = problem.axis[a];
        extent[a] = (axis.size + axis.before + axis.stride - 1) / axis.stride;
    }
    const Places windows(problem.images, extent, problem.channels, V);
    launch(max_pool_dgrad_disjoint<T, Offset, V>, one_thread_each(windows.count()), stream, gy, offsets, gx, problem,
           windows);
}

}  // namespace convgpu::pool
