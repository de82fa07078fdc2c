// Average pooling: one thread walks one window.
//
// A thread owns V neighbouring channels of one output pixel; a block owns kThreads of these, which are neighbours in y.
// Layouts: x[n][d][h][w][c], y[n][o][p][q][c].
// Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most). kSide > 0 says that
// the window is kSide x kSide, 1 deep and not dilated, so that all its loads can be under way at once.
// Order: the taps are added in row-major order, in blocks of 64; padding is skipped. Half types are summed in float32.
#pragma once
#include "../common/accumulate.h"
#include "average.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, int V, int kSide>
__global__ void __launch_bounds__(kThreads, kResident)
    avg_pool_window(const T* __restrict__ x, T* __restrict__ y, const __grid_constant__ Problem problem,
                    const __grid_constant__ Places outputs) {
    Position out;
    if (!outputs.find(thread_number(), out)) return;
    const Window window = problem.window<(kSide > 0)>(out);
    const T zero = static_cast<T>(0.0f);
    BlockedSum<Accumulator<T>, V> sum;
    for (int t = kSide ? 0 : window.t.begin; t < (kSide ? 1 : window.t.end); ++t) {
#pragma unroll
        for (int r = kSide ? 0 : window.r.begin; r < (kSide ? kSide : window.r.end); ++r) {
#pragma unroll
            for (int s = kSide ? 0 : window.s.begin; s < (kSide ? kSide : window.s.end); ++s) {
                const bool inside = !kSide || (window.t.holds(t) && window.r.holds(r) && window.s.holds(s));
                sum.add(load_if<V>(inside, x + problem.tap_at(window, t, r, s), zero));
            }
        }
    }
    store(y + problem.y_at(out),
          average<T, V>(divisor_of(problem, out.at[0], out.at[1], out.at[2]), [&](int v) { return sum[v]; }));
}

template <class T, int V, int kSide>
void launch_avg_pool_window(const T* x, T* y, const Problem& problem, Stream stream) {
    const Places outputs = places_of_y(problem, V);
    launch(avg_pool_window<T, V, kSide>, one_thread_each(outputs.count()), stream, x, y, problem, outputs);
}

}  // namespace convgpu::pool
