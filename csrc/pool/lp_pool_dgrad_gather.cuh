// The input gradient of power pooling, and sums of the same form: every pixel collects its share of the windows over
// it.
//
// A thread owns V neighbouring channels of one pixel of gx; a block owns kThreads of these, which are neighbours in gx.
// Layouts: gy, y[n][o][p][q][c]; x, gx[n][d][h][w][c].
// Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most).
// Order: gy * f(x / y) is added in row-major order of the windows, in blocks of 64. Half types are computed in float32.
#pragma once
#include "../common/accumulate.h"
#include "lp.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, int V>
__global__ void __launch_bounds__(kThreads, kFewResident)
    lp_pool_dgrad_gather(const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ gx,
                         const __grid_constant__ Problem problem, const __grid_constant__ Places pixels,
                         Accumulator<T> power, bool with_sign) {
    using A = Accumulator<T>;
    Position at;
    if (!pixels.find(thread_number(), at)) return;
    const Range os = problem.axis[0].covering(at.at[0]), ps = problem.axis[1].covering(at.at[1]),
                qs = problem.axis[2].covering(at.at[2]);
    const int64_t here = problem.x_at(at.n, at.at[0], at.at[1], at.at[2], at.c);
    const auto pixel = load<V>(x + here);
    BlockedSum<A, V> sum;
    for (int o = os.begin; o < os.end; ++o) {
        for (int p = ps.begin; p < ps.end; ++p) {
            for (int q = qs.begin; q < qs.end; ++q) {
                const int64_t window = problem.y_at(at.n, o, p, q, at.c);
                const auto g = load<V>(gy + window), norm = load<V>(y + window);
                sum.add_each([&](int v) {
                    return static_cast<A>(g.at[v]) *
                           power_of_quotient(static_cast<A>(pixel.at[v]), static_cast<A>(norm.at[v]), power, with_sign);
                });
            }
        }
    }
    Vector<T, V> all;
#pragma unroll
    for (int v = 0; v < V; ++v) all.at[v] = static_cast<T>(sum[v]);
    store(gx + here, all);
}

template <class T, int V>
void launch_lp_pool_dgrad_gather(const T* gy, const T* x, const T* y, T* gx, const Problem& problem, double power,
                                 bool with_sign, Stream stream) {
    const Places pixels = places_of_x(problem, V);
    launch(lp_pool_dgrad_gather<T, V>, one_thread_each(pixels.count()), stream, gy, x, y, gx, problem, pixels,
           static_cast<Accumulator<T>>(power), with_sign);
}

}  // namespace convgpu::pool
