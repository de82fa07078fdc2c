// The input gradient of average pooling: every pixel collects its share of the windows over it.
//
// A thread owns V neighbouring channels of one pixel of gx; a block owns kThreads of these, which are neighbours in gx.
// Layouts: gy[n][o][p][q][c], gx[n][d][h][w][c].
// Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most).
// Order: the shares of a pixel, gy * (1 / divisor), are added in row-major order of their windows, in blocks of 64.
#pragma once
#include "../common/accumulate.h"
#include "average.h"
#include "threads.h"

namespace convgpu::pool {

template <class T, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    avg_pool_dgrad_gather(const T* __restrict__ gy, T* __restrict__ gx, const __grid_constant__ Problem problem,
                          const __grid_constant__ Places pixels) {
    Position x;
    if (!pixels.find(thread_number(), x)) return;
    const Axis &depth = problem.axis[0], &height = problem.axis[1], &width = problem.axis[2];
    const Range os = depth.covering(x.at[0]), ps = height.covering(x.at[1]), qs = width.covering(x.at[2]);
    using A = Accumulator<T>;
    BlockedSum<A, V> sum;
    for (int o = os.begin; o < os.end; ++o) {
        for (int p = ps.begin; p < ps.end; ++p) {
            for (int q = qs.begin; q < qs.end; ++q) {
                if (depth.tap(o, x.at[0]) < 0 || height.tap(p, x.at[1]) < 0 || width.tap(q, x.at[2]) < 0) continue;
                const A share = A(1) / static_cast<A>(divisor_of(problem, o, p, q));
                const auto g = load<V>(gy + problem.y_at(x.n, o, p, q, x.c));
                sum.add_each([&](int v) { return static_cast<A>(g.at[v]) * share; });
            }
        }
    }
    Vector<T, V> result;
#pragma unroll
    for (int v = 0; v < V; ++v) result.at[v] = static_cast<T>(sum[v]);
    store(gx + problem.x_at(x.n, x.at[0], x.at[1], x.at[2], x.c), result);
}

template <class T, int V>
void launch_avg_pool_dgrad_gather(const T* gy, T* gx, const Problem& problem, Stream stream) {
    const Places pixels = places_of_x(problem, V);
    launch(avg_pool_dgrad_gather<T, V>, one_thread_each(pixels.count()), stream, gy, gx, problem, pixels);
}

}  // namespace convgpu::pool
