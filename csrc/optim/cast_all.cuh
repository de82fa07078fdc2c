// All arrays of a list in another dtype, and divided by a number on the device where one is given.
//
// A block owns one chunk of one array; a thread owns every 256th vector of it. Layouts: lists of arrays, xs, ys.
// Assumes nothing of addresses but the elements' own alignment. Quotients are computed in float32, in float64 from or
// for float64. Order: nothing is added.
#pragma once
#include <type_traits>

#include "../common/accumulate.h"
#include "table.h"

namespace convgpu::optim {

template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    cast_all(const __grid_constant__ Table table, const float* __restrict__ divisor) {
    using A = std::common_type_t<Accumulator<From>, Accumulator<To>>;
    const Part part = table.part();
    const From* x = table.array<const From>(0, part);
    To* y = table.array<To>(1, part);
    const A by = divisor ? static_cast<A>(*divisor) : A(1);
    each_vector(part, vector_aligned(x) && vector_aligned(y), [&](auto width, int64_t i) {
        constexpr int V = decltype(width)::value;
        const Vector<From, V> values = load<V>(x + i);
        Vector<A, V> wide;
#pragma unroll
        for (int e = 0; e < V; ++e) wide.at[e] = static_cast<A>(static_cast<Accumulator<From>>(values.at[e]));
        // In float64 the branch would make nvcc keep eight bytes of stack, and without it float32 would.
        if (sizeof(A) == 8 || divisor) {
#pragma unroll
            for (int e = 0; e < V; ++e) wide.at[e] /= by;
        }
        Vector<To, V> rounded;
#pragma unroll
        for (int e = 0; e < V; ++e) rounded.at[e] = static_cast<To>(wide.at[e]);
        store(y + i, rounded);
    });
}

template <class From, class To>
void launch_cast_all(const Plan& plan, const Table& table, const float* divisor, Stream stream) {
    launch(cast_all<From, To>, shape_of(plan), stream, table, divisor);
}

}  // namespace convgpu::optim
