// softmax and log_softmax along lines.
//
// A group of threads owns a line, as lines.h says. Layouts: x and y alike. Assumes that V divides the classes where it
// is not 1, and alignment to a vector of V elements. Each element is read three times: for the largest, for the sum,
// and for the result; the second and third time it comes from a cache, unless lines are very long. Order of summation:
// a thread adds its classes in rising order, in blocks of 64, then threads in pairs and warps in rising order. Half
// types are computed in float32 and rounded once.
#pragma once
#include "lines.h"

namespace convgpu::softmax {

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    softmax_lines(const T* __restrict__ x, T* __restrict__ y, const __grid_constant__ Lines all, bool log_of) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<LinesMemory<A>>();
    const Line line(all);
    const Statistics<A> s = statistics_of<V, T, A>(x, all, line, shared.of_warp);
    const A log_sum = log_of ? static_cast<A>(log(s.sum)) : A(0);
    line.each<V>(all, [&](int64_t, int64_t at) {
        Vector<T, V> values = load<V>(x + at);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A shifted = static_cast<A>(values.at[v]) - s.largest;
            values.at[v] = static_cast<T>(log_of ? shifted - log_sum : static_cast<A>(exp(shifted)) / s.sum);
        }
        store(y + at, values);
    });
}

template <class T, int V>
void launch_softmax_lines(const T* x, T* y, const Plan& plan, bool log_of, Stream stream) {
    launch(softmax_lines<T, V>, shape_of(plan, sizeof(LinesMemory<Accumulator<T>>)), stream, x, y, Lines(plan), log_of);
}

}  // namespace convgpu::softmax
