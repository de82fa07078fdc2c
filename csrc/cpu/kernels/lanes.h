// Vectors read from and written to arrays of any floating dtype, and of offsets.
#pragma once
#include "convert.h"

namespace convgpu::cpu::CONVGPU_ISA {

#if defined(__AVX512F__)
CONVGPU_INLINE __mmask16 first_16(int n) { return static_cast<__mmask16>((1u << n) - 1); }
#endif

CONVGPU_INLINE Vector<float> read_lanes(const float* p, int n) { return load_first(p, n); }
CONVGPU_INLINE Vector<double> read_lanes(const double* p, int n) { return load_first(p, n); }
template <class T>
CONVGPU_INLINE Vector<float> read_each(const T* p, int n) {
    Vector<float> v{};
    for (int i = 0; i < n; ++i) v[i] = widened(p[i]);
    return v;
}
CONVGPU_INLINE Vector<float> read_lanes(const Half* p, int n) {
#if defined(__AVX512F__)
    return (Vector<float>)_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_16(n), p));
#elif defined(__F16C__)
    if (n == 8) return (Vector<float>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#endif
    return read_each(p, n);
}
CONVGPU_INLINE Vector<float> read_lanes(const BFloat16* p, int n) {
#if defined(__AVX512F__)
    return (Vector<float>)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_16(n), p)), 16);
#elif defined(__AVX2__)
    if (n == 8) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return (Vector<float>)_mm256_slli_epi32(wide, 16);
    }
#endif
    return read_each(p, n);
}

CONVGPU_INLINE void write_lanes(float* p, Vector<float> v, int n) { store_first(p, v, n); }
CONVGPU_INLINE void write_lanes(double* p, Vector<double> v, int n) { store_first(p, v, n); }
CONVGPU_INLINE void write_lanes(Half* p, Vector<float> v, int n) {
#if defined(__AVX512F__)
    return _mm256_mask_storeu_epi16(p, first_16(n), _mm512_cvtps_ph((__m512)v, 0));
#endif
    float all[kLanes<float>];
    store(all, v);
    narrow(all, p, n);
}
CONVGPU_INLINE void write_lanes(BFloat16* p, Vector<float> v, int n) {
#if defined(__AVX512F__)
    const Integers<float> bits = (Integers<float>)v, up = bits + 0x7fff + (bits >> 16 & 1);
    const Integers<float> rounded = v == v ? up : bits | 0x400000;  // NaN stays NaN
    return _mm256_mask_storeu_epi16(p, first_16(n), _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)rounded, 16)));
#endif
    float all[kLanes<float>];
    store(all, v);
    narrow(all, p, n);
}

// Offsets of taps, one for each lane of a vector of A.
template <class A, class Offset>
CONVGPU_INLINE Integers<A> read_offsets(const Offset* p, int n) {
    if constexpr (sizeof(A) == 4 && sizeof(Offset) == 1) {
#if defined(__AVX512F__)
        return (Integers<A>)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_16(n), p));
#elif defined(__AVX2__)
        if (n == 8) return (Integers<A>)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#endif
    }
    Integers<A> v{};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
}
template <class A, class Offset>
CONVGPU_INLINE void write_offsets(Offset* p, Integers<A> v, int n) {
    if constexpr (sizeof(A) == 4 && sizeof(Offset) == 1) {
#if defined(__AVX512F__)
        return _mm512_mask_cvtepi32_storeu_epi8(p, first_16(n), (__m512i)v);
#elif defined(__AVX2__)
        if (n == 8) {
            const __m256i pairs = _mm256_packus_epi32((__m256i)v, (__m256i)v);
            const __m256i bytes = _mm256_packus_epi16(pairs, pairs);
            const uint32_t low = _mm256_extract_epi32(bytes, 0), high = _mm256_extract_epi32(bytes, 4);
            std::memcpy(p, &low, 4);
            std::memcpy(p + 4, &high, 4);
            return;
        }
#endif
    }
    for (int i = 0; i < n; ++i) p[i] = static_cast<Offset>(v[i]);
}

}  // namespace convgpu::cpu::CONVGPU_ISA
