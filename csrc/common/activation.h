// The activations that an op can apply to its own results before it stores them.
#pragma once
#include <stdexcept>
#include <string>

namespace convgpu {

enum class Activation { kNone, kRelu, kSigmoid, kTanh };

inline Activation activation_of(const std::string& name) {
    if (name.empty()) return Activation::kNone;
    if (name == "relu") return Activation::kRelu;
    if (name == "sigmoid") return Activation::kSigmoid;
    if (name == "tanh") return Activation::kTanh;
    throw std::invalid_argument("activation: expected relu, sigmoid, tanh or nothing, got " + name);
}

}  // namespace convgpu
