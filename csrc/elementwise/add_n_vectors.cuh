// The sum of up to kMostTerms arrays, in one pass.
//
// A thread owns two vectors of V neighbouring elements (vectors.h). Layouts: every term[i], y[i]. Assumes
// alignment to a vector of V elements. Order of summation: the terms in their order, in float32 for half types, rounded
// once.
#pragma once
#include "vectors.h"

namespace convgpu::elementwise {

constexpr int kAddEach = 2;  // vectors of a thread

constexpr int kMostTerms = 32;

template <class T>
struct Terms {
    const T* at[kMostTerms];
    int count;
};

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    add_n_vectors(const __grid_constant__ Terms<T> terms, T* __restrict__ y, int64_t size) {
    using A = Accumulator<T>;
    const Part<V, kAddEach> part(size);
    A sums[kAddEach][V] = {};
#pragma unroll 4
    for (int k = 0; k < terms.count; ++k) {
        Vector<T, V> values[kAddEach];
#pragma unroll
        for (int p = 0; p < kAddEach; ++p) {
            values[p] = load_if<V>(part.has(p), terms.at[k] + part.vector(p) * V, T(0));
        }
#pragma unroll
        for (int p = 0; p < kAddEach; ++p) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                const A value = static_cast<A>(values[p].at[v]);
                sums[p][v] = k == 0 ? value : sums[p][v] + value;
            }
        }
    }
#pragma unroll
    for (int p = 0; p < kAddEach; ++p) {
        Vector<T, V> rounded;
#pragma unroll
        for (int v = 0; v < V; ++v) rounded.at[v] = static_cast<T>(sums[p][v]);
        if (part.has(p)) store(y + part.vector(p) * V, rounded);
    }
    part.rest([&](int64_t i) {
        A sum = static_cast<A>(terms.at[0][i]);
        for (int k = 1; k < terms.count; ++k) sum += static_cast<A>(terms.at[k][i]);
        y[i] = static_cast<T>(sum);
    });
}

template <class T, int V>
void launch_add_n_vectors(const Terms<T>& terms, T* y, int64_t size, Stream stream) {
    launch(add_n_vectors<T, V>, shape_of<V, kAddEach>(size), stream, terms, y, size);
}

}  // namespace convgpu::elementwise
