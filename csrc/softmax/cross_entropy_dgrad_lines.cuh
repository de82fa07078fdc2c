// The gradient of cross_entropy: gx = (exp(x - largest) / sum - target) * g / divisor.
//
// A group of threads owns a line, as lines.h says. Layouts: x and gx alike; statistics[0][line] the largest element of
// a line, statistics[1][line] its sum; g[line], or one g for all. Assumes that V divides the classes where it is not 1,
// and alignment to a vector of V elements. Order: nothing is added.
#pragma once
#include "labels.h"
#include "lines.h"

namespace convgpu::softmax {

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_dgrad_lines(const T* __restrict__ x, const __grid_constant__ Targets<Accumulator<T>> targets,
                              const Accumulator<T>* __restrict__ statistics, const Accumulator<T>* __restrict__ g,
                              bool g_of_line, T* __restrict__ gx, Accumulator<T> divisor,
                              const __grid_constant__ Lines all) {
    using A = Accumulator<T>;
    const Line line(all);
    if (!line.exists) return;
    const A largest = statistics[line.number], sum = statistics[all.lines + line.number];
    const A weight = g[g_of_line ? line.number : 0] / divisor;
    const A spread = targets.smoothing / static_cast<A>(all.classes);
    const int64_t label = targets.labels[line.number];
    line.each<V>(all, [&](int64_t c, int64_t at) {
        Vector<T, V> values = load<V>(x + at);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A p = static_cast<A>(exp(static_cast<A>(values.at[v]) - largest)) / sum;
            const A target = (c + v == label ? 1 - targets.smoothing : A(0)) + spread;
            values.at[v] = static_cast<T>((p - target) * weight);
        }
        store(gx + at, values);
    });
}

template <class T, int V>
void launch_cross_entropy_dgrad_lines(const T* x, const Targets<Accumulator<T>>& targets,
                                      const Accumulator<T>* statistics, const Accumulator<T>* g, bool g_of_line, T* gx,
                                      Accumulator<T> divisor, const Plan& plan, Stream stream) {
    launch(cross_entropy_dgrad_lines<T, V>, shape_of(plan, 0), stream, x, targets, statistics, g, g_of_line, gx,
           divisor, Lines(plan));
}

}  // namespace convgpu::softmax
