// Any floating dtype from the two types that kernels compute in, and rows of elements converted between dtypes.
#pragma once
#include "convert.h"

namespace convgpu::cpu::CONVGPU_ISA {

// To the nearest, ties to even. A half type of a double is rounded once: the float between them keeps a last bit of 1
// where it is not exact, which no rounding to fewer digits takes for a tie.
template <class T>
CONVGPU_INLINE T rounded(float a) {
    if constexpr (sizeof(T) == 8) return a;
    if constexpr (sizeof(T) <= 4) return narrowed<T>(a);
}
template <class T>
CONVGPU_INLINE T rounded(double a) {
    if constexpr (sizeof(T) == 8) return a;
    if constexpr (sizeof(T) == 4) return static_cast<float>(a);
    if constexpr (sizeof(T) == 2) {
        const float nearest = static_cast<float>(a);
        const double difference = a - nearest;
        const bool away = __builtin_fabs(static_cast<double>(nearest)) > __builtin_fabs(a);
        const uint32_t odd = (bits_of(nearest) - away) | 1;
        return narrowed<T>(difference == 0 || difference != difference ? nearest : float_of(odd));
    }
}

// y = x in another dtype, rounded once.
template <class X, class Y>
CONVGPU_INLINE void convert(const X* x, Y* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = rounded<Y>(widened(x[i]));
}
template <class Y>
CONVGPU_INLINE void convert(const Half* x, Y* y, int64_t n) {
    constexpr int64_t kWide = 256;
    float wide[kWide];
    for (int64_t i = 0; i < n; i += kWide) {
        const int64_t some = smaller(kWide, n - i);
        widen(x + i, wide, some);
        for (int64_t j = 0; j < some; ++j) y[i + j] = rounded<Y>(wide[j]);
    }
}
CONVGPU_INLINE void convert(const Half* x, float* y, int64_t n) { widen(x, y, n); }
CONVGPU_INLINE void convert(const float* x, Half* y, int64_t n) { narrow(x, y, n); }
CONVGPU_INLINE void convert(const BFloat16* x, Half* y, int64_t n) {
    constexpr int64_t kWide = 256;
    float wide[kWide];
    for (int64_t i = 0; i < n; i += kWide) {
        const int64_t some = smaller(kWide, n - i);
        widen(x + i, wide, some);
        narrow(wide, y + i, some);
    }
}

}  // namespace convgpu::cpu::CONVGPU_ISA
