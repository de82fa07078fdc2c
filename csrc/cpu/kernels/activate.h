// Activations of a row of results. Limits and NaN are treated as in convgpu/backends/epilogue.py.
#pragma once
#include <math.h>

#include "../../common/options.h"
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

CONVGPU_INLINE float exponential(float v) { return __builtin_expf(v); }
CONVGPU_INLINE double exponential(double v) { return __builtin_exp(v); }
CONVGPU_INLINE float hyperbolic_tangent(float v) { return __builtin_tanhf(v); }
CONVGPU_INLINE double hyperbolic_tangent(double v) { return __builtin_tanh(v); }

template <class A>
CONVGPU_INLINE void activate(Activation activation, A* y, int64_t n) {
    if (activation == Activation::kRelu) {
        for (int64_t i = 0; i < n; ++i) y[i] = y[i] <= 0 ? A(0) : y[i];
    } else if (activation == Activation::kSigmoid) {  // does not overflow, and small results are exact
        for (int64_t i = 0; i < n; ++i) {
            const A e = exponential(y[i] < 0 ? y[i] : -y[i]);
            y[i] = (y[i] < 0 ? e : A(1)) / (1 + e);
        }
    } else if (activation == Activation::kTanh) {
        for (int64_t i = 0; i < n; ++i) y[i] = hyperbolic_tangent(y[i]);
    }
}

}  // namespace convgpu::cpu::CONVGPU_ISA
