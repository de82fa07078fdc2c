// Labels of the integer dtypes that kernels have.
#pragma once
#include "../common/array.h"
#include "../device/launch.h"

namespace convgpu::softmax {

struct Labels {
    const void* data;
    DType dtype;

    __device__ __forceinline__ int64_t operator[](int64_t i) const {
        switch (dtype) {
            case DType::kUInt8:
                return static_cast<const uint8_t*>(data)[i];
            case DType::kUInt16:
                return static_cast<const uint16_t*>(data)[i];
            case DType::kInt32:
                return static_cast<const int32_t*>(data)[i];
            default:
                return static_cast<const int64_t*>(data)[i];
        }
    }
};

// What the targets are: 1 - smoothing at the label, and smoothing / classes everywhere.
template <class A>
struct Targets {
    Labels labels;
    A smoothing;
};

}  // namespace convgpu::softmax
