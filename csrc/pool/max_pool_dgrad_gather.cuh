// The input gradient of max pooling: every pixel asks the windows over it whether it has won them.
//
// A thread owns V neighbouring channels of one pixel of gx; a block owns kThreads of these, which are neighbours in gx.
// Layouts: gy[n][o][p][q][c], offsets like gy, gx[n][d][h][w][c].
// Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most).
// Order: the gradients of a pixel are added in row-major order of their windows, in blocks. There are no atomics.
#pragma once
#include "../common/accumulate.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, class Offset, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    max_pool_dgrad_gather(const T* __restrict__ gy, const Offset* __restrict__ offsets, T* __restrict__ gx,
                          const __grid_constant__ Problem problem, const __grid_constant__ Places pixels) {
    Position x;
    if (!pixels.find(thread_number(), x)) return;
    const Axis &depth = problem.axis[0], &height = problem.axis[1], &width = problem.axis[2];
    const Range os = depth.covering(x.at[0]), ps = height.covering(x.at[1]), qs = width.covering(x.at[2]);
    using A = Accumulator<T>;
    BlockedSum<A, V> sum;
    for (int o = os.begin; o < os.end; ++o) {
        for (int p = ps.begin; p < ps.end; ++p) {
            for (int q = qs.begin; q < qs.end; ++q) {
                const int t = depth.tap(o, x.at[0]), r = height.tap(p, x.at[1]), s = width.tap(q, x.at[2]);
                if (t < 0 || r < 0 || s < 0) continue;
                const int64_t at = problem.y_at(x.n, o, p, q, x.c);
                const auto mine = static_cast<Offset>(problem.offset_of(t, r, s));
                const auto winner = load<V>(offsets + at);
                const auto g = load<V>(gy + at);
                sum.add_each([&](int v) { return winner.at[v] == mine ? static_cast<A>(g.at[v]) : A(0); });
            }
        }
    }
    Vector<T, V> result;
#pragma unroll
    for (int v = 0; v < V; ++v) result.at[v] = static_cast<T>(sum[v]);
    store(gx + problem.x_at(x.n, x.at[0], x.at[1], x.at[2], x.c), result);
}

template <class T, class Offset, int V>
void launch_max_pool_dgrad_gather(const T* gy, const Offset* offsets, T* gx, const Problem& problem, Stream stream) {
    const Places pixels = places_of_x(problem, V);
    launch(max_pool_dgrad_gather<T, Offset, V>, one_thread_each(pixels.count()), stream, gy, offsets, gx, problem,
           pixels);
}

}  // namespace convgpu::pool
