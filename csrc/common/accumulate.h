// How long sums stay accurate: they are taken in a type that is wide enough, and block by block.
#pragma once
#include "../device/launch.h"
#include "vector.h"

namespace convgpu {

// Half types are summed in float32, the others in themselves.
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

// V sums side by side. Every 64 terms the running block is added to the total, so that the rounding errors of n terms
// grow as those of a chain of 64, then of n/64, and not of n.
template <class A, int V>
class BlockedSum {
public:
    template <class T>
    __device__ __forceinline__ void add(const Vector<T, V>& terms) {
#pragma unroll
        for (int v = 0; v < V; ++v) block_[v] += static_cast<A>(terms.at[v]);
        count();
    }

    template <class F>  // term(v): the v-th sum's next term
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

// values[0] + values[step] + ...: `count` of them, in groups of 16.
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
