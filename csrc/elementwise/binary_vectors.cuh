// A function of two operands that broadcast, in one pass.
//
// A thread owns two vectors of V neighbouring elements of the result (vectors.h). Layouts: y[i]; the index of a vector
// is split into indices of merged axes (binary_plan.h), innermost first, which lead to the elements of a and b. An
// operand that is repeated along the innermost axis gives one element for the whole vector, and a number is no memory
// access at all. Assumes that V divides the innermost of several axes, and alignment to a vector of V elements. Half
// types are computed in float32 and rounded once. Order: nothing is summed.
#pragma once
#include "../common/divisor.h"
#include "binary_plan.h"
#include "vectors.h"

namespace convgpu::elementwise {

constexpr int kBinaryEach = 2;  // vectors of a thread

// An operand: an array, or a number in its place.
template <class T>
struct Operand {
    const T* at;  // null for a number
    bool along;   // whether neighbouring elements of the result belong to neighbouring elements of this array
    T number;

    template <int V>
    __device__ __forceinline__ Vector<T, V> vector(bool inside, int64_t offset) const {
        if (along) return load_if<V>(inside, at + offset, T(0));
        const T one = at && inside ? at[offset] : number;
        Vector<T, V> same;
#pragma unroll
        for (int v = 0; v < V; ++v) same.at[v] = one;
        return same;
    }
    __device__ __forceinline__ T element(int64_t i) const { return along ? at[i] : at ? at[0] : number; }
};

// Leads from the index of a vector to the offsets of its elements in both operands.
struct BroadcastAxes {
    int count = 0;
    Divisor by[kMostAxes];
    int64_t a[kMostAxes] = {}, b[kMostAxes] = {};  // elements between neighbouring vectors, then between neighbours

    BroadcastAxes(const std::vector<BroadcastAxis>& axes, int vector) {
        for (const BroadcastAxis& axis : axes) {
            const int64_t each = count == 0 ? vector : 1;
            by[count] = Divisor(static_cast<uint64_t>(axis.length / each));
            a[count] = axis.a * each;
            b[count] = axis.b * each;
            ++count;
        }
    }

    __device__ __forceinline__ void offsets(int64_t vector, int64_t& of_a, int64_t& of_b) const {
        auto rest = static_cast<uint64_t>(vector);
        of_a = of_b = 0;
        for (int k = 0; k < count; ++k) {
            const auto i = static_cast<int64_t>(k + 1 < count ? by[k].split(rest) : rest);
            of_a += i * a[k];
            of_b += i * b[k];
        }
    }
};

// Calls use(f), where f(a, b) is the function. NaN wins in maxima and minima.
template <class A, class Use>
__device__ __forceinline__ void with_binary(BinaryFunction function, Use use) {
    switch (function) {
        case BinaryFunction::kAdd:
            return use([](A a, A b) { return a + b; });
        case BinaryFunction::kSubtract:
            return use([](A a, A b) { return a - b; });
        case BinaryFunction::kMultiply:
            return use([](A a, A b) { return a * b; });
        case BinaryFunction::kDivide:
            return use([](A a, A b) { return a / b; });
        case BinaryFunction::kMaximum:
            return use([](A a, A b) { return a >= b || a != a ? a : b; });
        case BinaryFunction::kMinimum:
            return use([](A a, A b) { return a <= b || a != a ? a : b; });
        case BinaryFunction::kReversedSubtract:
            return use([](A a, A b) { return b - a; });
        case BinaryFunction::kReversedDivide:
            return use([](A a, A b) { return b / a; });
    }
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    binary_vectors(const __grid_constant__ Operand<T> a, const __grid_constant__ Operand<T> b, T* __restrict__ y,
                   int64_t size, const __grid_constant__ BroadcastAxes axes, BinaryFunction function) {
    using A = Accumulator<T>;
    const Part<V, kBinaryEach> part(size);
    Vector<T, V> as[kBinaryEach], bs[kBinaryEach];
#pragma unroll
    for (int p = 0; p < kBinaryEach; ++p) {
        int64_t of_a, of_b;
        axes.offsets(part.vector(p), of_a, of_b);
        as[p] = a.template vector<V>(part.has(p), of_a);
        bs[p] = b.template vector<V>(part.has(p), of_b);
    }
    with_binary<A>(function, [&](auto f) {
#pragma unroll
        for (int p = 0; p < kBinaryEach; ++p) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                T& value = as[p].at[v];
                value = static_cast<T>(f(static_cast<A>(value), static_cast<A>(bs[p].at[v])));
            }
            if (part.has(p)) store(y + part.vector(p) * V, as[p]);
        }
        part.rest([&](int64_t i) {  // only where there is one axis
            y[i] = static_cast<T>(f(static_cast<A>(a.element(i)), static_cast<A>(b.element(i))));
        });
    });
}

template <class T, int V>
void launch_binary_vectors(const T* a, const T* b, T number, T* y, const BinaryPlan& plan, BinaryFunction function,
                           Stream stream) {
    const bool one = plan.axes.empty();
    const Operand<T> of_a{a, !one && plan.axes.front().a != 0, number};
    const Operand<T> of_b{b, !one && plan.axes.front().b != 0, number};
    launch(binary_vectors<T, V>, shape_of<V, kBinaryEach>(plan.size), stream, of_a, of_b, y, plan.size,
           BroadcastAxes(plan.axes, plan.vector), function);
}

}  // namespace convgpu::elementwise
