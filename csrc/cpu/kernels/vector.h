// Vectors of the instruction set that this source is compiled for. All kernels are written with them once; the build
// compiles each kernel for every instruction set, into a namespace of its own (CONVGPU_ISA).
//
// Nothing here has a name that another instruction set shares: the linker keeps one of several equal functions, and
// that one could be of a set that the machine lacks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace convgpu::cpu::CONVGPU_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

#define CONVGPU_INLINE inline __attribute__((always_inline))

template <class A>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(kVectorBytes)));
    typedef float unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
    typedef int32_t integers __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(kVectorBytes)));
    typedef double unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
    typedef int64_t integers __attribute__((vector_size(kVectorBytes)));
};
template <class A>
using Vector = typename VectorOf<A>::type;
template <class A>
using Integers = typename VectorOf<A>::integers;  // as many integers as a vector has elements, and as wide

template <class A>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(A));

template <class A>
CONVGPU_INLINE Vector<A> load(const A* p) {
    return *reinterpret_cast<const typename VectorOf<A>::unaligned*>(p);
}
template <class A>
CONVGPU_INLINE void store(A* p, Vector<A> v) {
    *reinterpret_cast<typename VectorOf<A>::unaligned*>(p) = v;
}

// a - 0 is a for every a, -0 included, so that the compiler drops the subtraction.
template <class A>
CONVGPU_INLINE Vector<A> broadcast(A a) {
    return a - Vector<A>{};
}

// The first `n` elements from p, and zeros; nothing beyond is read.
template <class A>
CONVGPU_INLINE Vector<A> load_first(const A* p, int n) {
    if (n == kLanes<A>) return load(p);
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#endif
    Vector<A> v{};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
}
template <class A>
CONVGPU_INLINE void store_first(A* p, Vector<A> v, int n) {
    if (n == kLanes<A>) return store(p, v);
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
    if constexpr (sizeof(A) == 8) _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), (__m512d)v);
#else
    for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

template <class N>
CONVGPU_INLINE constexpr N smaller(N a, N b) {
    return b < a ? b : a;
}
template <class N>
CONVGPU_INLINE constexpr N larger(N a, N b) {
    return a < b ? b : a;
}
CONVGPU_INLINE constexpr int64_t parts(int64_t n, int64_t each) { return (n + each - 1) / each; }

}  // namespace convgpu::cpu::CONVGPU_ISA
