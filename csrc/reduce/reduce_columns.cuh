// A reduction whose innermost axis stays: y[i] = the terms of result i, combined.
//
// A block owns kThreads / sharing vectors of V neighbouring results, or one part of their terms. `sharing` threads own
// the terms of a vector: each of them every sharing-th. Layouts: results are counted in lines of `inner` neighbours;
// line l begins at kept(l), and the r-th terms of its results are reduced(r) behind. Assumes that V divides `inner`,
// and alignment to a vector of V elements. T are the terms, and U the results: parts of split results are terms too.
// Order of summation: a thread adds its terms in rising order, in blocks of 64; threads and parts are added in rising
// order, in groups of 16. Half types are summed in float32.
#pragma once
#include "terms.h"

namespace convgpu::reduce {

template <class A, int V>
struct ColumnsMemory {
    A at[kThreads * V];
};

template <template <class> class Reduction, class T, class U, int V>
__global__ void __launch_bounds__(kThreads)
    reduce_columns(const T* __restrict__ x, const __grid_constant__ Results<U> y, int64_t results, int64_t terms,
                   const __grid_constant__ Divisor by_line, const __grid_constant__ Offsets kept,
                   const __grid_constant__ Offsets reduced, int sharing, int parts) {
    using A = Accumulator<T>;
    using R = Reduction<A>;
    auto& shared = dyn_smem<ColumnsMemory<A, V>>();
    const auto part = static_cast<int64_t>(blockIdx.x % parts), block = static_cast<int64_t>(blockIdx.x / parts);
    const int columns = kThreads / sharing, me = static_cast<int>(threadIdx.x);
    const int column = me % columns, row = me / columns;
    const int64_t first = (block * columns + column) * V;
    typename R::template Running<V> running;
    if (first < results) {
        auto line = static_cast<uint64_t>(first / V);
        const auto along = static_cast<int64_t>(by_line.split(line)) * V;
        const T* const from = x + kept(static_cast<int64_t>(line)) + along;
        const int64_t end = terms * (part + 1) / parts;
#pragma unroll 4
        for (int64_t r = terms * part / parts + row; r < end; r += sharing) running.add(load<V>(from + reduced(r)));
    }
#pragma unroll
    for (int v = 0; v < V; ++v) shared.at[me * V + v] = running[v];
    __syncthreads();
    constexpr int kGroup = 16;
    for (int e = me; e < columns * V; e += kThreads) {
        const int64_t i = block * columns * V + e;
        if (i >= results) break;
        A value = R::nothing();
        for (int begin = 0; begin < sharing; begin += kGroup) {
            A group = shared.at[begin * columns * V + e];
            for (int s = begin + 1; s < begin + kGroup && s < sharing; ++s) {
                group = R::combined(group, shared.at[s * columns * V + e]);
            }
            value = begin == 0 ? group : R::combined(value, group);
        }
        y.put(part, results, i, value);
    }
}

template <template <class> class Reduction, class T, class U, int V>
void launch_reduce_columns(const T* x, const Results<U>& y, const Plan& plan, Stream stream) {
    LaunchShape shape;
    const int64_t owned = int64_t(kThreads) / plan.sharing * V;
    shape.grid = dim3(static_cast<unsigned>((plan.results + owned - 1) / owned * plan.parts));
    shape.block = dim3(kThreads);
    shape.shared_bytes = sizeof(ColumnsMemory<Accumulator<T>, V>);
    launch(reduce_columns<Reduction, T, U, V>, shape, stream, x, y, plan.results, plan.terms,
           Divisor(static_cast<uint64_t>(plan.inner > 0 ? plan.inner / V : 1)), Offsets(plan.kept),
           Offsets(plan.reduced), plan.sharing, plan.parts);
}

}  // namespace convgpu::reduce
