// exp(x) of vectors.
//
// x is k * ln 2 + r with an integer k, so that |r| <= ln(2) / 2, and exp(x) = 2^k * exp(r). exp(r) is
// 1 + r + r^2 * p(r), where p is the polynomial of smallest relative error in exp(r): 3e-9 for float, 4e-18 for double.
// The result is within 1.1 units in the last place, denormals included.
// exp(-inf) = 0, exp(inf) = inf, NaN stays NaN, and exp(0) = 1.
#pragma once
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

template <class A>
struct Exponential;
template <>
struct Exponential<float> {
    // Beyond these limits the result is 0 or inf. `high` has so few bits that k * high is exact.
    static constexpr float smallest = -104, largest = 89, log2_e = 1.44269504f, high = 0.693359375f,
                           low = -2.12194440e-4f, to_integer = 12582912;  // 1.5 * 2^23: its last bit is worth 1
    static constexpr float p[] = {1.3814607579219309e-3f, 8.3687168429522627e-3f, 4.1668387907268331e-2f,
                                  0.16666520632267469f, 0.49999993448179119f};
    static constexpr int bias = 127, digits = 23;
};
template <>
struct Exponential<double> {
    static constexpr double smallest = -746, largest = 710, log2_e = 1.4426950408889634, high = 0.693147180369123816490,
                            low = 1.90821492927058770002e-10, to_integer = 6755399441055744;  // 1.5 * 2^52
    static constexpr double p[] = {2.5000062784313715536e-8, 2.7630247281167705683e-7, 2.7557586362170614558e-6,
                                   2.4801493101940887337e-5, 1.9841269506601331386e-4, 1.3888888943627292493e-3,
                                   8.3333333334944468967e-3, 4.1666666666530168636e-2, 0.16666666666666412552,
                                   0.50000000000000106261};
    static constexpr int bias = 1023, digits = 52;
};

// v * 2^k, where k holds whole numbers and `bits` is k + to_integer. Of two factors the first is exact.
template <class A>
CONVGPU_INLINE Vector<A> scaled(Vector<A> v, [[maybe_unused]] Vector<A> k, [[maybe_unused]] Integers<A> bits) {
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm512_maskz_scalef_ps(0xffff, (__m512)v, (__m512)k);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm512_maskz_scalef_pd(0xff, (__m512d)v, (__m512d)k);
#endif
    using E = Exponential<A>;
    const Integers<A> power = bits - (Integers<A>)broadcast(E::to_integer), half = power >> 1;
    return v * (Vector<A>)((half + E::bias) << E::digits) * (Vector<A>)((power - half + E::bias) << E::digits);
}

template <class V, class A>
CONVGPU_INLINE V exponential_of(V x) {
    using E = Exponential<A>;
    x = x < E::smallest ? broadcast(E::smallest) : x;  // NaN is not smaller
    x = x > E::largest ? broadcast(E::largest) : x;
    const V shifted = x * E::log2_e + E::to_integer, k = shifted - E::to_integer;
    const V r = x - k * E::high - k * E::low;
    V p = broadcast(E::p[0]);
#pragma GCC unroll 16
    for (int i = 1; i < static_cast<int>(sizeof(E::p) / sizeof(A)); ++i) p = p * r + E::p[i];
    return scaled<A>(r * r * p + r + 1, k, (Integers<A>)shifted);
}
CONVGPU_INLINE Vector<float> exponential(Vector<float> x) { return exponential_of<Vector<float>, float>(x); }
CONVGPU_INLINE Vector<double> exponential(Vector<double> x) { return exponential_of<Vector<double>, double>(x); }

}  // namespace convgpu::cpu::CONVGPU_ISA
