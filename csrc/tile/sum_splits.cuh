// The second pass of a product whose sums were split: adds the parts and finishes the result.
//
// A thread owns V neighbouring elements of one row. Layouts: partial[item][split][m][line], the result as its rows say.
// Assumes lines of partial sums that are whole vectors long. Order of summation: the splits, in ascending order.
#pragma once
#include "output.h"
#include "schedule.h"

namespace convgpu::tile {

// ResultOf(item) is the result of one item of the batch. If kMends holds, a NaN is computed again by mend(result_of,
// item, m, n), as in hopper/product.h.
template <class T, bool kMends, class ResultOf>
__global__ void __launch_bounds__(kThreads, 2)
    sum_splits(const __grid_constant__ Partial<Accumulator<T>> partial, const __grid_constant__ ResultOf result_of,
               const __grid_constant__ Divisor by_columns, const __grid_constant__ Divisor by_rows, int items) {
    constexpr int V = kVectorBytes / sizeof(Accumulator<T>);
    uint64_t rest = uint64_t(blockIdx.x) * kThreads + threadIdx.x;
    const int n = static_cast<int>(by_columns.split(rest)) * V, m = static_cast<int>(by_rows.split(rest));
    const auto item = static_cast<int>(rest);
    if (item >= items || !partial.marks.any(item, m, n, 1)) return;
    Vector<Accumulator<T>, V> sums{};
    for (int split = 0; split < partial.splits; ++split) {
        const auto part = load<V>(partial.data + partial.at(m, n, item, split));
#pragma unroll
        for (int v = 0; v < V; ++v) sums.at[v] += part.at[v];
    }
    write(result_of(item), m, n, sums);
    if constexpr (kMends) {
        if (!has_nan(sums)) return;
#pragma unroll 1
        for (int v = 0; v < V; ++v) mend(result_of, item, m, n + v);
    }
}

template <class T, bool kMends = false, class ResultOf>
void launch_sum_splits(const Partial<Accumulator<T>>& partial, const ResultOf& result_of, int items, Stream stream) {
    constexpr int V = kVectorBytes / sizeof(Accumulator<T>);
    const int64_t columns = (partial.N + V - 1) / V, threads = columns * partial.M * items;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
    shape.block = dim3(kThreads);
    launch(sum_splits<T, kMends, ResultOf>, shape, stream, partial, result_of, Divisor(columns), Divisor(partial.M),
           items);
}

}  // namespace convgpu::tile
