// The floating dtypes of arrays, and rows of them converted to and from the type that is computed in.
#pragma once
#include "../dtypes.h"
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

CONVGPU_INLINE uint32_t bits_of(float a) {
    uint32_t bits;
    std::memcpy(&bits, &a, 4);
    return bits;
}
CONVGPU_INLINE float float_of(uint32_t bits) {
    float a;
    std::memcpy(&a, &bits, 4);
    return a;
}

CONVGPU_INLINE float widened(float a) { return a; }
CONVGPU_INLINE double widened(double a) { return a; }
CONVGPU_INLINE float widened(BFloat16 a) { return float_of(uint32_t(a.bits) << 16); }
CONVGPU_INLINE float widened(Half a) {
#if defined(__F16C__)
    return _cvtsh_ss(a.bits);
#else
    // The exponent is moved from bias 15 to bias 127 by a product, which also gives denormals their value.
    const float magnitude = float_of(uint32_t(a.bits & 0x7fff) << 13) * float_of(0x77800000);  // 2^112
    const uint32_t infinite = (a.bits & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
    return float_of(bits_of(magnitude) | infinite | uint32_t(a.bits & 0x8000) << 16);
#endif
}

// To the nearest, ties to even.
template <class T>
CONVGPU_INLINE T narrowed(Accumulator<T> a);
template <>
CONVGPU_INLINE float narrowed<float>(float a) {
    return a;
}
template <>
CONVGPU_INLINE double narrowed<double>(double a) {
    return a;
}
template <>
CONVGPU_INLINE BFloat16 narrowed<BFloat16>(float a) {
    const uint32_t bits = bits_of(a);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    return {static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded)};
}
template <>
CONVGPU_INLINE Half narrowed<Half>(float a) {
#if defined(__F16C__)
    return {static_cast<uint16_t>(_cvtss_sh(a, 0))};
#else
    const uint32_t bits = bits_of(a), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return {static_cast<uint16_t>(sign | 0x7e00)};
    if (magnitude >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};  // rounds to 2^16 or more
    if (magnitude < 0x38800000) {  // a denormal: adding 1/2 leaves its units in the last bits of the sum
        return {static_cast<uint16_t>(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000))};
    }
    return {static_cast<uint16_t>(sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13)};
#endif
}

// n neighbouring elements.
template <class A>
CONVGPU_INLINE void widen(const A* from, A* to, int64_t n) {
    int64_t i = 0;
    for (; i + kLanes<A> <= n; i += kLanes<A>) store(to + i, load(from + i));
    for (; i < n; ++i) to[i] = from[i];
}
template <class A>
CONVGPU_INLINE void narrow(const A* from, A* to, int64_t n) {
    widen(from, to, n);
}
CONVGPU_INLINE void widen(const BFloat16* from, float* to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = widened(from[i]);
}
CONVGPU_INLINE void narrow(const float* from, BFloat16* to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = narrowed<BFloat16>(from[i]);
}
CONVGPU_INLINE void widen(const Half* from, float* to, int64_t n) {
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
    }
#endif
    for (; i < n; ++i) to[i] = widened(from[i]);
}
CONVGPU_INLINE void narrow(const float* from, Half* to, int64_t n) {
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), 0));
    }
#endif
    for (; i < n; ++i) to[i] = narrowed<Half>(from[i]);
}

}  // namespace convgpu::cpu::CONVGPU_ISA
