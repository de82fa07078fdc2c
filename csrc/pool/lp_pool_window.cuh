// Power pooling: one thread walks one window, twice.
//
// A thread owns V neighbouring channels of one output pixel; a block owns kThreads of these, which are neighbours in y.
// Layouts: x[n][d][h][w][c], y[n][o][p][q][c].
// Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most).
// Order: the first walk finds the largest |x| of the window. The second adds the powers of |x| / largest, so that no
// power overflows, in row-major order of the taps and in blocks of 64. Padding is skipped. Half types are computed in
// float32.
#pragma once
#include "../common/accumulate.h"
#include "largest.h"
#include "lp.h"
#include "threads.h"

namespace convgpu::pool {

// Calls use(pixels) for the taps of a window that lie inside the input, in row-major order.
template <int V, class T, class Use>
__device__ __forceinline__ void each_pixel(const T* __restrict__ x, const Problem& problem, const Window& window,
                                           Use use) {
    for (int t = window.t.begin; t < window.t.end; ++t) {
        for (int r = window.r.begin; r < window.r.end; ++r) {
            for (int s = window.s.begin; s < window.s.end; ++s) use(load<V>(x + problem.tap_at(window, t, r, s)));
        }
    }
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads, kFewResident)
    lp_pool_window(const T* __restrict__ x, T* __restrict__ y, const __grid_constant__ Problem problem,
                   const __grid_constant__ Places outputs, Accumulator<T> norm) {
    using A = Accumulator<T>;
    Position out;
    if (!outputs.find(thread_number(), out)) return;
    const Window window = problem.window<true>(out);
    A largest[V] = {};
    each_pixel<V>(x, problem, window, [&](const Vector<T, V>& pixel) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A size = fabs(static_cast<A>(pixel.at[v]));
            largest[v] = beats(size, largest[v]) ? size : largest[v];
        }
    });
    A unit[V];  // 1 where the norm is the largest value itself, which is 0, Inf or NaN
#pragma unroll
    for (int v = 0; v < V; ++v)
        unit[v] = largest[v] > A(0) && largest[v] < static_cast<A>(INFINITY) ? largest[v] : A(1);
    BlockedSum<A, V> sum;
    each_pixel<V>(x, problem, window, [&](const Vector<T, V>& pixel) {
        sum.add_each([&](int v) { return power_of<A>(fabs(static_cast<A>(pixel.at[v])) / unit[v], norm); });
    });
    Vector<T, V> all;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        all.at[v] = static_cast<T>(unit[v] == largest[v] ? unit[v] * root_of<A>(sum[v], norm) : largest[v]);
    }
    store(y + problem.y_at(out), all);
}

template <class T, int V>
void launch_lp_pool_window(const T* x, T* y, const Problem& problem, double norm, Stream stream) {
    const Places outputs = places_of_y(problem, V);
    launch(lp_pool_window<T, V>, one_thread_each(outputs.count()), stream, x, y, problem, outputs,
           static_cast<Accumulator<T>>(norm));
}

}  // namespace convgpu::pool
