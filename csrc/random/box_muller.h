// Normal numbers by the transform of Box and Muller (1958): of two uniform numbers, u in (0, 1] gives the radius
// sqrt(-2 log u), and the other one the angle. Logarithm, sine and cosine are polynomials (the coefficients are those
// of Sun's fdlibm) in arithmetic that rounds each result, so that the numbers have the same bits on every machine;
// convgpu/backends/numpy/random.py does the same in the same order.
#pragma once
#include <cstring>

#include "rounded.h"

namespace convgpu::random {

// A number as fraction * 2^exponent, where the fraction is in [sqrt(1/2), sqrt(2)) up to rounding.
template <class A>
struct Split {
    A fraction;
    int exponent;
};

template <class A, class Bits, int kMantissa, int kBias>
__device__ __forceinline__ Split<A> split_bits(A x) {
    Bits bits;
    memcpy(&bits, &x, sizeof bits);
    Split<A> of{A(0), static_cast<int>(bits >> kMantissa) - (kBias - 1)};  // x is positive
    bits = (bits & ((Bits(1) << kMantissa) - 1)) | Bits(kBias - 1) << kMantissa;
    memcpy(&of.fraction, &bits, sizeof bits);
    if (of.fraction < A(0.70710678118654752440)) {
        of.fraction = add(of.fraction, of.fraction);
        --of.exponent;
    }
    return of;
}
__device__ __forceinline__ Split<float> split(float x) { return split_bits<float, uint32_t, 23, 127>(x); }
__device__ __forceinline__ Split<double> split(double x) { return split_bits<double, uint64_t, 52, 1023>(x); }

// Returns c[0] + x * (c[1] + x * (...)).
template <class A, int N>
__device__ __forceinline__ A polynomial(A x, const double (&c)[N]) {
    A sum = A(c[N - 1]);
#pragma unroll
    for (int i = N - 2; i >= 0; --i) sum = add(A(c[i]), mul(x, sum));
    return sum;
}

// The natural logarithm of x * 2^-shift, for positive x.
template <class A>
__device__ __forceinline__ A log_of(A x, int shift) {
    constexpr double kTerms[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                                 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                                 1.479819860511658591e-01};
    constexpr double kLog2 = 0.693359375, kLog2Rest = -2.12194440054690583e-4;  // multiples of the first are exact
    const Split<A> of = split(x);
    const A k = A(of.exponent - shift), f = sub(of.fraction, A(1));
    const A s = div(f, add(A(2), f)), z = mul(s, s);
    const A half_square = mul(mul(A(0.5), f), f);
    const A rest = add(mul(s, add(half_square, mul(z, polynomial(z, kTerms)))), mul(k, A(kLog2Rest)));
    return sub(mul(k, A(kLog2)), sub(sub(half_square, rest), f));
}

// Two numbers from a radius and the point of the unit circle at `quarter` right angles and `a` in [-pi/4, pi/4].
template <class A>
__device__ __forceinline__ void on_circle(A radius, A a, unsigned quarter, A (&pair)[2]) {
    constexpr double kSine[] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03,  -1.98412698298579493134e-04,
                                2.75573137070700676789e-06,  -2.50507602534068634195e-08, 1.58969099521155010221e-10};
    constexpr double kCosine[] = {4.16666666666666019037e-02, -1.38888888888741095749e-03,
                                  2.48015872894767294178e-05, -2.75573143513906633035e-07,
                                  2.08757232129817482790e-09, -1.13596475577881948265e-11};
    const A z = mul(a, a);
    const A sine = add(a, mul(mul(a, z), polynomial(z, kSine)));
    const A cosine = add(sub(A(1), mul(A(0.5), z)), mul(mul(z, z), polynomial(z, kCosine)));
    const bool turned = quarter & 1;  // by a right angle
    const A first = mul(radius, turned ? sine : cosine), second = mul(radius, turned ? cosine : sine);
    pair[0] = quarter == 1 || quarter == 2 ? -first : first;
    pair[1] = quarter >= 2 ? -second : second;
}

constexpr double kPi = 3.14159265358979323846;

// Two numbers from two words of 32 bits.
__device__ __forceinline__ void normal_pair(uint32_t u, uint32_t v, float (&pair)[2]) {
    const float radius = root(mul(-2.0f, log_of(static_cast<float>(static_cast<int64_t>(u) * 2 + 1), 33)));
    const int64_t odd = (static_cast<int64_t>(v & 0x3fffffff) - (1 << 29)) * 2 + 1;
    on_circle(radius, mul(static_cast<float>(odd), static_cast<float>(kPi / 4294967296.0)), v >> 30, pair);
}

// Two numbers from two words of 64 bits.
__device__ __forceinline__ void normal_pair(uint64_t u, uint64_t v, double (&pair)[2]) {
    const double radius = root(mul(-2.0, log_of(static_cast<double>(static_cast<int64_t>(u >> 11) * 2 + 1), 54)));
    const int64_t odd = (static_cast<int64_t>(v << 2 >> 11) - (int64_t(1) << 52)) * 2 + 1;
    on_circle(radius, mul(static_cast<double>(odd), kPi / 36028797018963968.0), static_cast<unsigned>(v >> 62), pair);
}

}  // namespace convgpu::random
