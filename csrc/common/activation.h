// Activations that ops apply to their own results before they are stored.
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
