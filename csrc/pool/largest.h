// The running maximum of V channels, and the offset of each maximum in its window.
#pragma once
#include "../common/accumulate.h"
#include "../common/vector.h"
#include "../device/launch.h"

namespace convgpu::pool {

// Tells whether a challenger takes the place of the holder. A NaN beats every number. Of equal values, and of NaNs, the
// one that came first stays.
template <class A>
__device__ __forceinline__ bool beats(A challenger, A holder) {
    return challenger > holder || (challenger != challenger && holder == holder);
}

template <class T, int V>
class Largest {
public:
    using A = Accumulator<T>;

    // `first` is the offset of the first tap that will be met. It wins a window in which every element is -inf.
    __device__ __forceinline__ explicit Largest(int first) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            value_[v] = -static_cast<A>(INFINITY);
            offset_[v] = first;
        }
    }

    __device__ __forceinline__ void meet(const Vector<T, V>& pixel, int offset) {
#pragma unroll
        for (int v = 0; v < V; ++v) meet(v, static_cast<A>(pixel.at[v]), offset);
    }

    __device__ __forceinline__ void meet(int v, A value, int offset) {
        const bool wins = beats(value, value_[v]);
        value_[v] = wins ? value : value_[v];
        offset_[v] = wins ? offset : offset_[v];
    }

    // Does the same as meet for taps that come in any order: of equal values, the one with the lower offset stays.
    __device__ __forceinline__ void meet_unordered(int v, A value, int offset) {
        const bool neither = !beats(value, value_[v]) && !beats(value_[v], value);
        const bool wins = neither ? offset < offset_[v] : beats(value, value_[v]);
        value_[v] = wins ? value : value_[v];
        offset_[v] = wins ? offset : offset_[v];
    }

    __device__ __forceinline__ A value(int v) const { return value_[v]; }
    __device__ __forceinline__ int offset(int v) const { return offset_[v]; }

    __device__ __forceinline__ Vector<T, V> values() const {
        Vector<T, V> all;
#pragma unroll
        for (int v = 0; v < V; ++v) all.at[v] = static_cast<T>(value_[v]);
        return all;
    }

    template <class Offset>
    __device__ __forceinline__ Vector<Offset, V> offsets() const {
        Vector<Offset, V> all;
#pragma unroll
        for (int v = 0; v < V; ++v) all.at[v] = static_cast<Offset>(offset_[v]);
        return all;
    }

private:
    A value_[V];
    int offset_[V];
};

}  // namespace convgpu::pool
