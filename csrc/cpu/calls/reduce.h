// A reduction over axes, as kernels take it.
#pragma once
#include <cstdint>

namespace convgpu::cpu {

enum class Reduction { kSum, kMean, kMax, kMin };

// y[kept][inner] is the reduction of x[outer][kept][middle][inner] over outer and middle; arrays lie without gaps.
// There are elements along the reduced axes.
struct ReduceCall {
    int64_t outer = 1, kept = 1, middle = 1, inner = 1;
    const void* x = nullptr;
    void* y = nullptr;
    Reduction function = Reduction::kSum;
    int threads = 1;

    int64_t terms() const { return outer * middle; }
    int64_t size() const { return outer * kept * middle * inner; }
};

}  // namespace convgpu::cpu
