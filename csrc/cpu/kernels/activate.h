// Activations of a row of results: the functions of the op activate, whose bits they have.
#pragma once
#include "../../common/options.h"
#include "functions.h"

namespace convgpu::cpu::CONVGPU_ISA {

template <class A, class F>
CONVGPU_INLINE void apply(A* y, int64_t n, F f) {
    for (int64_t i = 0; i < n; i += kLanes<A>) {
        const int lanes = static_cast<int>(smaller<int64_t>(kLanes<A>, n - i));
        store_first(y + i, f(load_first(y + i, lanes)), lanes);
    }
}

template <class A>
CONVGPU_INLINE void activate(Activation activation, A* y, int64_t n) {
    using V = Vector<A>;
    if (activation == Activation::kRelu) {
        apply(y, n, [](V v) { return v <= 0 ? V{} : v; });
    } else if (activation == Activation::kSigmoid) {
        apply(y, n, [](V v) { return sigmoid<A>(v); });
    } else if (activation == Activation::kTanh) {
        apply(y, n, [](V v) { return hyperbolic_tangent<A>(v); });
    }
}

}  // namespace convgpu::cpu::CONVGPU_ISA
