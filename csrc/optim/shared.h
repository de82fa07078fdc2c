// What all elements of a step share, as kernels read it.
#pragma once
#include <cmath>

#include "../common/accumulate.h"
#include "../common/vector.h"
#include "../device/launch.h"

namespace convgpu::optim {

// The loss scale doubles after so many steps without Inf or NaN, and halves at one with (as in PyTorch's GradScaler).
constexpr float kGrowthInterval = 2000;

struct Scalars {
    const void *rate, *steps;
    bool wide_rate, wide_steps;  // float64 rather than float32, int64 rather than int32
    const double* norm;
    const float* scaling;
    int64_t* new_steps;
    float* new_scaling;
    double clip_norm;

    __device__ __forceinline__ double learning_rate() const {
        return wide_rate ? *static_cast<const double*>(rate) : *static_cast<const float*>(rate);
    }
    __device__ __forceinline__ int64_t steps_before() const {
        return wide_steps ? *static_cast<const int64_t*>(steps) : *static_cast<const int32_t*>(steps);
    }
    // Returns whether the step changes nothing, because a gradient is not finite.
    __device__ __forceinline__ bool skipped() const { return scaling && !(*norm <= 1.7976931348623157e308); }
    // Returns what gradients are multiplied by. The 1e-6 is PyTorch's.
    __device__ __forceinline__ double gradient_factor() const {
        if (!norm || clip_norm == INFINITY) return 1;
        const double factor = clip_norm / (*norm + 1e-6);
        return factor > 1 ? 1 : factor;
    }
    // Writes the new step count and loss scale. One thread calls it.
    __device__ __forceinline__ void advance() const {
        const bool skip = skipped();
        *new_steps = steps_before() + (skip ? 0 : 1);
        if (!scaling) return;
        const float scale = scaling[0], good = skip ? 0 : scaling[1] + 1;
        const bool grown = good >= kGrowthInterval;
        new_scaling[0] = skip ? scale * 0.5f : grown && scale * 2 < INFINITY ? scale * 2 : scale;
        new_scaling[1] = grown ? 0 : good;
    }
};

enum class Copies { kNone, kFloat16, kBFloat16 };

// Stores values in the half type of the copies.
template <int V, class P>
__device__ __forceinline__ void store_copies(void* copies, Copies kind, int64_t i, const Vector<P, V>& values) {
    const auto rounded = [&](auto* to) {
        using H = std::remove_pointer_t<decltype(to)>;
        Vector<H, V> halves;
#pragma unroll
        for (int v = 0; v < V; ++v) halves.at[v] = static_cast<H>(static_cast<Accumulator<P>>(values.at[v]));
        store(to + i, halves);
    };
    if (kind == Copies::kFloat16) rounded(static_cast<__half*>(copies));
    if (kind == Copies::kBFloat16) rounded(static_cast<__nv_bfloat16*>(copies));
}

}  // namespace convgpu::optim
