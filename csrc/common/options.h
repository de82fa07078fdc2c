// Options that Python passes by name. The bindings are compiled without CUDA's headers, so this header includes none of
// them; the device function that computes an activation stands in activate.h.
#pragma once
#include <stdexcept>
#include <string>

namespace convgpu {

// How float32 products are computed: in full float32, or from factors rounded to TF32 for the tensor cores.
enum class Precision { kFloat32, kTf32 };

inline Precision precision_of(const std::string& name) {
    if (name == "float32") return Precision::kFloat32;
    if (name == "tf32") return Precision::kTf32;
    throw std::invalid_argument("precision: expected float32 or tf32, got " + name);
}

// The activation that an op applies to its own results before it stores them. Relu6 and silu belong to the ops that
// normalise what a convolution computes; the others do not take them.
enum class Activation { kNone, kRelu, kSigmoid, kTanh, kRelu6, kSilu };

inline Activation activation_of(const std::string& name) {
    if (name.empty()) return Activation::kNone;
    if (name == "relu") return Activation::kRelu;
    if (name == "sigmoid") return Activation::kSigmoid;
    if (name == "tanh") return Activation::kTanh;
    throw std::invalid_argument("activation: expected relu, sigmoid, tanh or nothing, got " + name);
}

inline Activation activation_of_norm(const std::string& name) {
    if (name.empty()) return Activation::kNone;
    if (name == "relu") return Activation::kRelu;
    if (name == "relu6") return Activation::kRelu6;
    if (name == "silu") return Activation::kSilu;
    throw std::invalid_argument("activation: expected relu, relu6, silu or nothing, got " + name);
}

}  // namespace convgpu
