// Softmax, cross-entropy and their gradients, as kernels take them.
#pragma once
#include <cstdint>

namespace convgpu::cpu {

enum class LabelType { kUInt8, kUInt16, kInt32, kInt64 };
enum class LossReduction { kNone, kSum, kMean };

// Arrays of logits are x[outer][classes][inner] without gaps; line (o, i) is line o * inner + i. What is found of lines
// is in the dtype of sums.
struct SoftmaxCall {
    int64_t outer = 0, classes = 0, inner = 0;
    const void *x = nullptr, *y = nullptr, *gy = nullptr;
    void *result = nullptr, *gx = nullptr;
    bool log_of = false;
    const void *labels = nullptr, *g = nullptr, *known = nullptr;  // known: statistics that the forward pass has found
    LabelType label_type = LabelType::kInt64;
    void *losses = nullptr, *statistics = nullptr;  // [2][lines]: the largest x, the sum of exp(x - largest)
    int32_t* flag = nullptr;
    double smoothing = 0;
    LossReduction reduction = LossReduction::kNone;
    int threads = 1;

    int64_t lines() const { return outer * inner; }
    int64_t size() const { return outer * classes * inner; }
};

}  // namespace convgpu::cpu
