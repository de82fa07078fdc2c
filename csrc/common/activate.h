// The activations of options.h as kernels compute them. Limits and NaN are treated as in convgpu/backends/epilogue.py.
#pragma once
#include <cmath>

#include "../device/launch.h"
#include "options.h"

namespace convgpu {

// Applies an activation to one value. A is float or double.
template <class A>
__device__ __forceinline__ A activate(Activation activation, A v) {
    switch (activation) {
        case Activation::kRelu:
            return v <= 0 ? A(0) : v;
        case Activation::kSigmoid:  // does not overflow, and small results are exact
            return v < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-v));
        case Activation::kTanh:
            return tanh(v);
        default:
            return v;
    }
}

// Does the same, and knows relu6 and silu too. NaN stays NaN, and silu is -0 at -Inf.
template <class A>
__device__ __forceinline__ A activate_any(Activation activation, A v) {
    switch (activation) {
        case Activation::kRelu6:
            return v <= 0 ? A(0) : v >= 6 ? A(6) : v;
        case Activation::kSilu:
            return (v < -750 ? A(-750) : v) * activate(Activation::kSigmoid, v);
        default:
            return activate(activation, v);
    }
}

}  // namespace convgpu
