// What the kernels of reductions share: how terms are combined, where they lie, and where results go.
#pragma once
#include "../common/accumulate.h"
#include "../common/divisor.h"
#include "plan.h"

namespace convgpu::reduce {

// Adds. `Running` holds V sums side by side, in blocks of 64 terms.
template <class A>
struct Sum {
    template <int V>
    using Running = BlockedSum<A, V>;
    static __device__ __forceinline__ A combined(A a, A b) { return a + b; }
    static __device__ __forceinline__ A nothing() { return A(0); }
};

// V extremes side by side. NaN wins, and of several the first.
template <class Extreme, class A, int V>
class Winners {
public:
    __device__ __forceinline__ Winners() {
#pragma unroll
        for (int v = 0; v < V; ++v) best_[v] = Extreme::nothing();
    }
    template <class T>
    __device__ __forceinline__ void add(const Vector<T, V>& terms) {
#pragma unroll
        for (int v = 0; v < V; ++v) best_[v] = Extreme::combined(best_[v], static_cast<A>(terms.at[v]));
    }
    __device__ __forceinline__ A operator[](int v) const { return best_[v]; }

private:
    A best_[V];
};

template <class A>
struct Max {
    template <int V>
    using Running = Winners<Max, A, V>;
    static __device__ __forceinline__ A combined(A a, A b) { return b > a || b != b ? (a != a ? a : b) : a; }
    static __device__ __forceinline__ A nothing() { return -A(INFINITY); }
};

template <class A>
struct Min {
    template <int V>
    using Running = Winners<Min, A, V>;
    static __device__ __forceinline__ A combined(A a, A b) { return b < a || b != b ? (a != a ? a : b) : a; }
    static __device__ __forceinline__ A nothing() { return A(INFINITY); }
};

// Leads from an index over several axes, the last of them innermost, to the offset of the element.
class Offsets {
public:
    explicit Offsets(const std::vector<Axis>& axes) : inner_(static_cast<int>(axes.size()) - 1) {
        for (int a = 0; a < static_cast<int>(axes.size()); ++a) {
            if (a < inner_) {
                by_[a] = Divisor(static_cast<uint64_t>(axes[a].length));
                stride_[a] = axes[a].stride;
            } else {
                outermost_ = axes[a].stride;
            }
        }
    }

    __device__ __forceinline__ int64_t operator()(int64_t index) const {
        auto rest = static_cast<uint64_t>(index);
        int64_t at = 0;
#pragma unroll
        for (int a = 0; a < kMostAxes - 1; ++a) {
            if (a < inner_) at += static_cast<int64_t>(by_[a].split(rest)) * stride_[a];
        }
        return at + static_cast<int64_t>(rest) * outermost_;
    }

private:
    int inner_;  // axes that the index is divided by
    Divisor by_[kMostAxes - 1];
    int64_t stride_[kMostAxes - 1] = {}, outermost_ = 0;
};

// Where results go: to y, divided by their number for a mean and rounded, or to the parts of split results.
template <class T>
struct Results {
    T* y;
    Accumulator<T>* parts;
    bool mean;
    Accumulator<T> count;  // the number of terms

    __device__ __forceinline__ void put(int64_t part, int64_t results, int64_t i, Accumulator<T> value) const {
        if (parts) {
            parts[part * results + i] = value;
        } else {
            y[i] = static_cast<T>(mean ? value / count : value);
        }
    }
};

}  // namespace convgpu::reduce
