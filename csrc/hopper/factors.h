// Hopper's tensor cores multiply the factors of a product as half types, or as float32 that was split into float16.
//
// Plans need only the names in this file. hopper/scaled.h says how float32 is split, and what that costs in accuracy.
#pragma once
#include "../common/array.h"
#include "../common/options.h"

namespace convgpu::hopper {

enum class Factors {
    kHalf,   // float16 or bfloat16, as they are
    kHigh,   // each float32 is one scaled float16, whose mantissa is as long as that of TF32
    kPairs,  // each float32 is the sum of two scaled float16
};

constexpr int parts_of(Factors factors) { return factors == Factors::kPairs ? 2 : 1; }

inline Factors factors_of(DType dtype, Precision precision) {
    if (dtype != DType::kFloat32) return Factors::kHalf;
    return precision == Precision::kFloat32 ? Factors::kPairs : Factors::kHigh;
}

}  // namespace convgpu::hopper
