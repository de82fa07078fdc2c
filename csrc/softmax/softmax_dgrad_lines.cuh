// The gradients of softmax, gx = y * (gy - sum of gy * y), and of log_softmax, gx = gy - exp(y) * sum of gy.
//
// A group of threads owns a line, as lines.h says. Layouts: gy, y and gx alike. Assumes that V divides the classes
// where it is not 1, and alignment to a vector of V elements. Order of summation: as in softmax_lines.
#pragma once
#include "lines.h"

namespace convgpu::softmax {

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    softmax_dgrad_lines(const T* __restrict__ gy, const T* __restrict__ y, T* __restrict__ gx,
                        const __grid_constant__ Lines all, bool log_of) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<LinesMemory<A>>();
    const Line line(all);
    BlockedSum<A, 1> sum;
    line.each<V>(all, [&](int64_t, int64_t at) {
        const Vector<T, V> g = load<V>(gy + at);
        Vector<T, V> values{};
        if (!log_of) values = load<V>(y + at);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A term = static_cast<A>(g.at[v]);
            sum.add_each([&](int) { return log_of ? term : term * static_cast<A>(values.at[v]); });
        }
    });
    const A total = agreed<Sum<A>>(sum[0], all.sharing, shared.of_warp);
    line.each<V>(all, [&](int64_t, int64_t at) {
        Vector<T, V> g = load<V>(gy + at);
        const Vector<T, V> values = load<V>(y + at);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A mine = static_cast<A>(g.at[v]), result = static_cast<A>(values.at[v]);
            g.at[v] = static_cast<T>(log_of ? mine - static_cast<A>(exp(result)) * total : result * (mine - total));
        }
        store(gx + at, g);
    });
}

template <class T, int V>
void launch_softmax_dgrad_lines(const T* gy, const T* y, T* gx, const Plan& plan, bool log_of, Stream stream) {
    launch(softmax_dgrad_lines<T, V>, shape_of(plan, sizeof(LinesMemory<Accumulator<T>>)), stream, gy, y, gx,
           Lines(plan), log_of);
}

}  // namespace convgpu::softmax
