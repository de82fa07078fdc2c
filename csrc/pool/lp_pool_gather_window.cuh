// The derivative of power pooling along v, and sums of the same form: one thread walks one window.
//
// A thread owns V neighbouring channels of one output pixel; a block owns kThreads of these, which are neighbours in z.
// Layouts: v, x[n][d][h][w][c]; y, z[n][o][p][q][c].
// Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most).
// Order: v * f(x / y) is added in row-major order of the taps, in blocks of 64; padding is skipped. Half types are
// computed in float32.
#pragma once
#include "../common/accumulate.h"
#include "lp.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, int V>
__global__ void __launch_bounds__(kThreads, kFewResident)
    lp_pool_gather_window(const T* __restrict__ v, const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ z,
                          const __grid_constant__ Problem problem, const __grid_constant__ Places outputs,
                          Accumulator<T> power, bool with_sign) {
    using A = Accumulator<T>;
    Position out;
    if (!outputs.find(thread_number(), out)) return;
    const Window window = problem.window<true>(out);
    const auto norm = load<V>(y + problem.y_at(out));
    BlockedSum<A, V> sum;
    for (int t = window.t.begin; t < window.t.end; ++t) {
        for (int r = window.r.begin; r < window.r.end; ++r) {
            for (int s = window.s.begin; s < window.s.end; ++s) {
                const int64_t at = problem.tap_at(window, t, r, s);
                const auto pixel = load<V>(x + at), along = load<V>(v + at);
                sum.add_each([&](int i) {
                    return static_cast<A>(along.at[i]) *
                           power_of_quotient(static_cast<A>(pixel.at[i]), static_cast<A>(norm.at[i]), power, with_sign);
                });
            }
        }
    }
    Vector<T, V> all;
#pragma unroll
    for (int i = 0; i < V; ++i) all.at[i] = static_cast<T>(sum[i]);
    store(z + problem.y_at(out), all);
}

template <class T, int V>
void launch_lp_pool_gather_window(const T* v, const T* x, const T* y, T* z, const Problem& problem, double power,
                                  bool with_sign, Stream stream) {
    const Places outputs = places_of_y(problem, V);
    launch(lp_pool_gather_window<T, V>, one_thread_each(outputs.count()), stream, v, x, y, z, problem, outputs,
           static_cast<Accumulator<T>>(power), with_sign);
}

}  // namespace convgpu::pool
