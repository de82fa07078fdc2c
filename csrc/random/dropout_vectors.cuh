// Dropout of every element, in one pass, with the mask made in registers: y[i] = x[i] * (kept ? scale : 0).
//
// A thread owns a group of 4 neighbouring elements, to which one block of random words belongs, or of V where a vector
// has more; word i % 4 of block i / 4 decides on element i, whatever V is. The first thread of the grid also writes the
// next state. Layouts: x[i], y[i]. Assumes alignment to a vector of V elements. Half types are computed in float32 and
// rounded once. Order: nothing is added.
#pragma once
#include "../common/accumulate.h"
#include "../common/vector.h"
#include "state.h"

namespace convgpu::random {

constexpr int kDropoutThreads = 256;

template <int V>
constexpr int kGroup = V > kWords ? V : kWords;

// How an element is decided on: it is kept where the upper 24 bits of its word are at least `threshold`.
template <class A>
struct Dropping {
    StateAt at;
    uint32_t threshold;
    A scale;

    __device__ __forceinline__ A factor(uint32_t word) const { return word >> 8 >= threshold ? scale : A(0); }
};

template <class T, int V>
__global__ void __launch_bounds__(kDropoutThreads)
    dropout_vectors(const T* __restrict__ x, T* __restrict__ y, int64_t size,
                    const __grid_constant__ Dropping<Accumulator<T>> by) {
    using A = Accumulator<T>;
    constexpr int kSize = kGroup<V>;
    const int64_t group = int64_t(blockIdx.x) * kDropoutThreads + threadIdx.x, begin = group * kSize;
    const State state = by.at.load();
    if (group == 0) by.at.advance(state);
    if (begin >= size) return;
    const bool whole = begin + kSize <= size;
    Vector<T, V> values[kSize / V];
#pragma unroll
    for (int p = 0; p < kSize / V; ++p) values[p] = load_if<V>(whole, x + begin + p * V, T(0));
    A factors[kSize];
#pragma unroll
    for (int block = 0; block < kSize / kWords; ++block) {
        const Words words = philox(state, static_cast<uint64_t>(group) * (kSize / kWords) + block);
#pragma unroll
        for (int w = 0; w < kWords; ++w) factors[block * kWords + w] = by.factor(words.at[w]);
    }
    if (whole) {
#pragma unroll
        for (int p = 0; p < kSize / V; ++p) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                values[p].at[v] = static_cast<T>(static_cast<A>(values[p].at[v]) * factors[p * V + v]);
            }
            store(y + begin + p * V, values[p]);
        }
        return;
    }
#pragma unroll
    for (int e = 0; e < kSize; ++e) {  // the last group, which has fewer elements
        if (begin + e < size) y[begin + e] = static_cast<T>(static_cast<A>(x[begin + e]) * factors[e]);
    }
}

template <class T, int V>
void launch_dropout_vectors(const T* __restrict__ x, T* __restrict__ y, int64_t size,
                            const Dropping<Accumulator<T>>& by, Stream stream) {
    const int64_t per_block = int64_t(kDropoutThreads) * kGroup<V>;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(size > 0 ? (size + per_block - 1) / per_block : 1));
    shape.block = dim3(kDropoutThreads);
    launch(dropout_vectors<T, V>, shape, stream, x, y, size, by);
}

}  // namespace convgpu::random
