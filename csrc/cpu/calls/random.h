// Dropout, as kernels take it.
#pragma once
#include <cstdint>

namespace convgpu::cpu {

// What random words follow from: csrc/random/philox.h says how.
struct RandomState {
    uint64_t seed = 0, stream = 0, counter = 0;
};

struct DropoutCall {
    const void* x = nullptr;
    void* y = nullptr;
    int64_t size = 0;
    RandomState state;
    uint32_t threshold = 0;  // an element is kept where the upper 24 bits of its word are at least so many
    double scale = 1;        // of what is kept
    int threads = 1;
};

}  // namespace convgpu::cpu
