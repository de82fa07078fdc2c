// How float32 products are computed: in full float32, or from factors rounded to TF32 for the tensor cores.
#pragma once
#include <stdexcept>
#include <string>

namespace convgpu {

enum class Precision { kFloat32, kTf32 };

inline Precision precision_of(const std::string& name) {
    if (name == "float32") return Precision::kFloat32;
    if (name == "tf32") return Precision::kTf32;
    throw std::invalid_argument("precision: expected float32 or tf32, got " + name);
}

}  // namespace convgpu
