// A normalisation op, as kernels take it.
#pragma once
#include <cstdint>

namespace convgpu::cpu {

enum class NormActivation { kNone, kRelu, kRelu6, kSilu };

// Images are x[outer][rows][channels][inner] without gaps (csrc/norm/geometry.h). Statistics, parameters and their
// gradients are in the dtype of sums; those that an op has not, or that nobody wants, are null.
struct NormCall {
    int64_t outer = 0, rows = 0, channels = 0, inner = 0, groups = 0;
    const void *x = nullptr, *gy = nullptr, *given_y = nullptr, *residual = nullptr;
    void *y = nullptr, *gx = nullptr, *gresidual = nullptr;
    const void *mean = nullptr, *rest = nullptr, *rstd = nullptr, *scale = nullptr, *offset = nullptr;
    const void *running_mean = nullptr, *running_var = nullptr;
    void *new_mean = nullptr, *new_var = nullptr, *found_mean = nullptr, *found_rstd = nullptr;
    void *gscale = nullptr, *goffset = nullptr;
    double epsilon = 0, momentum = 0;
    int64_t correction = 0;
    bool infers = false;  // mean and rstd belong to channels, and rstd is a variance
    NormActivation activation = NormActivation::kNone;
    int threads = 1;

    int64_t size() const { return outer * rows * channels * inner; }
    int64_t per_group() const { return groups ? channels / groups : 0; }
    int64_t count() const { return rows * per_group() * inner; }  // the elements that share a mean
};

}  // namespace convgpu::cpu
