// Activations that ops apply to their own results before they are stored, as convgpu/backends/epilogue.py has them.
#pragma once
#include <cmath>
#include <string>

#include "../device/launch.h"
#include "error.h"

namespace convgpu {

enum class Activation { kNone, kRelu, kSigmoid, kTanh };

inline Activation activation_of(const std::string& name) {
    if (name.empty()) return Activation::kNone;
    if (name == "relu") return Activation::kRelu;
    if (name == "sigmoid") return Activation::kSigmoid;
    if (name == "tanh") return Activation::kTanh;
    throw std::invalid_argument("activation: expected relu, sigmoid, tanh or nothing, got " + name);
}

// NaN stays NaN. A is float or double.
template <class A>
__device__ __forceinline__ A activate(Activation activation, A v) {
    switch (activation) {
        case Activation::kRelu:
            return v <= 0 ? A(0) : v;
        case Activation::kSigmoid:  // without overflow, and small results exact
            return v < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-v));
        case Activation::kTanh:
            return tanh(v);
        default:
            return v;
    }
}

}  // namespace convgpu
