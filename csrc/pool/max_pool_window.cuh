// Max pooling: one thread walks one window.
//
// A thread owns V neighbouring channels of one output pixel; a block owns kThreads of these, which are neighbours in y.
// Layouts: x[n][d][h][w][c], y[n][o][p][q][c], offsets like y.
// Assumes that V divides the channels, and that x, y and offsets are aligned to a vector of V of their elements (16
// bytes at most). kSide > 0 says that the window is kSide x kSide, 1 deep and not dilated, so that all its loads can be
// under way at once.
// Order: the taps are met in row-major order. A later tap wins only if it is larger, or if it is the first NaN. Padding
// is skipped.
#pragma once
#include "largest.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, class Offset, int V, int kSide>
__global__ void __launch_bounds__(kThreads, kResident)
    max_pool_window(const T* __restrict__ x, T* __restrict__ y, Offset* __restrict__ offsets,
                    const __grid_constant__ Problem problem, const __grid_constant__ Places outputs) {
    Position out;
    if (!outputs.find(thread_number(), out)) return;
    const Window window = problem.window<(kSide > 0)>(out);
    const T lowest = static_cast<T>(-INFINITY);  // stands for padding, and never wins
    Largest<T, V> largest(problem.offset_of(window.t.begin, window.r.begin, window.s.begin));
    for (int t = kSide ? 0 : window.t.begin; t < (kSide ? 1 : window.t.end); ++t) {
#pragma unroll
        for (int r = kSide ? 0 : window.r.begin; r < (kSide ? kSide : window.r.end); ++r) {
#pragma unroll
            for (int s = kSide ? 0 : window.s.begin; s < (kSide ? kSide : window.s.end); ++s) {
                const bool inside = !kSide || (window.t.holds(t) && window.r.holds(r) && window.s.holds(s));
                largest.meet(load_if<V>(inside, x + problem.tap_at(window, t, r, s), lowest),
                             problem.offset_of(t, r, s));
            }
        }
    }
    const int64_t at = problem.y_at(out);
    store(y + at, largest.values());
    if (offsets) store(offsets + at, largest.template offsets<Offset>());
}

template <class T, class Offset, int V, int kSide>
void launch_max_pool_window(const T* x, T* y, Offset* offsets, const Problem& problem, Stream stream) {
    const Places outputs = places_of_y(problem, V);
    launch(max_pool_window<T, Offset, V, kSide>, one_thread_each(outputs.count()), stream, x, y, offsets, problem,
           outputs);
}

}  // namespace convgpu::pool
