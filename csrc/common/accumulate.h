// These sums stay accurate however long they are: they are taken in a type that is wide enough, and block by block.
#pragma once
#include "../device/launch.h"
#include "vector.h"

namespace convgpu {

// The type that sums of T are taken in: float32 for half types, else T itself.
template <class T>
struct AccumulatorOf {
    using type = float;
};
template <>
struct AccumulatorOf<double> {
    using type = double;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

// V running sums, side by side. After every 64 terms the sum of this block is added to the total. The rounding errors
// of n terms therefore grow like those of a chain of 64 terms and then of n/64 terms, not like those of a chain of n.
template <class A, int V>
class BlockedSum {
public:
    template <class T>
    __device__ __forceinline__ void add(const Vector<T, V>& terms) {
#pragma unroll
        for (int v = 0; v < V; ++v) block_[v] += static_cast<A>(terms.at[v]);
        count();
    }

    template <class F>  // term(v) is the next term of the v-th sum
    __device__ __forceinline__ void add_each(F term) {
#pragma unroll
        for (int v = 0; v < V; ++v) block_[v] += term(v);
        count();
    }

    __device__ __forceinline__ A operator[](int v) const { return total_[v] + block_[v]; }

private:
    __device__ __forceinline__ void count() {
        if (++terms_ < kBlock) return;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            total_[v] += block_[v];
            block_[v] = 0;
        }
        terms_ = 0;
    }

    static constexpr int kBlock = 64;
    A total_[V] = {}, block_[V] = {};
    int terms_ = 0;
};

// Returns values[0] + values[step] + ..., which are `count` values. They are added in groups of 16.
template <class A>
__device__ __forceinline__ A sum_in_groups(const A* values, int count, int step) {
    constexpr int kGroup = 16;
    A sum = 0;
    for (int begin = 0; begin < count; begin += kGroup) {
        A group = 0;
        for (int i = begin; i < begin + kGroup && i < count; ++i) group += values[i * step];
        sum += group;
    }
    return sum;
}

}  // namespace convgpu
