// Dropout, and arrays of random numbers, as kernels take them.
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

// y[i] = first + second * u, where u is uniform in [0, 1) or of the standard normal distribution.
struct DrawCall {
    void* y = nullptr;
    int64_t size = 0;
    RandomState state;
    double first = 0, second = 1;
    int threads = 1;
};

// y[i] is from low to low + count - 1, modulo 2^64; a count of 0 stands for 2^64.
struct IntegersCall {
    void* y = nullptr;
    bool wide = false;  // y is of int64, and not of int32
    int64_t size = 0;
    RandomState state;
    uint64_t low = 0, count = 0;
    int threads = 1;
};

}  // namespace convgpu::cpu
