// Activations and their derivatives of vectors. Limits and what becomes of NaN are those of
// docs/activations-norms-losses.md.
//
// With k and r as in exponential.h:
//   exp(x) - 1 = 2^k * (exp(r) - 1) + (2^k - 1)
//   tanh(x) = -m / (2 + m), where m = exp(-2 |x|) - 1, with the sign of x
//   log(1 + e) = 2 artanh(s), where s = e / (2 + e), a series in s^2
//   cdf(-a) = exp(-a^2 / 2) * u * p(u), where u = 1 / (a + shift), so that the tail keeps its digits
// A product with 2^k comes last where it may be a denormal number, whose few digits nothing may multiply.
#pragma once
#include "../../common/functions.h"
#include "exponential.h"

namespace convgpu::cpu::CONVGPU_ISA {

// Numbers that depend on the type.
//
// gelu_limit: cdf(-x) is 0 beyond it. silu_limit: silu(-x) is 0 beyond it. one: exp(-x) - 1 is -1 beyond it.
// tail: the polynomial p, in start - slope * a / (a + shift), is that of smallest error, 3.5e-8 for float,
// 1.3e-17 for double.
// bell: exp(-r / 2), relative error 1.9e-9 and 4e-18. artanh: 2 artanh(s) / s in s^2, 1.6e-8 and 1.3e-19.
template <class A>
struct Numbers;
template <>
struct Numbers<float> {
    static constexpr float gelu_limit = 14.5f, silu_limit = 125, one = 80, shift = 3, start = 1.5f, slope = 2.4137931f;
    static constexpr float tail[] = {-6.81785241e-06f, -3.1858639e-05f,  0.000346861285f, -0.000285123737f,
                                     -0.00278162397f,  -0.000777505164f, 0.0302417446f,   0.132440358f,
                                     0.33676964f,      0.618247807f};
    static constexpr float bell[] = {
        2.16199915e-05f, -0.000261714275f, 0.0026042643f, -0.0208330248f, 0.124999978f, -0.5f, 1.0f};
    static constexpr float artanh[] = {0.268514991f, 0.282366186f, 0.400075614f, 0.666666389f, 2.0f};
    static constexpr int32_t upper = -4096;  // the bits of a number whose square is exact
};
template <>
struct Numbers<double> {
    static constexpr double gelu_limit = 40, silu_limit = 760, one = 700, shift = 5, start = 1, slope = 2.25;
    static constexpr double tail[] = {
        -1.3541907749555958e-11, -1.7962184769349554e-10, 3.0446083584414696e-10,  2.2853830690747059e-09,
        -3.821693694312815e-09,  -1.9458947733644454e-08, 3.741391976327652e-08,   1.656107572471656e-07,
        -3.1422974001250007e-07, -1.6315859586787983e-06, 1.9814501492432974e-06,  1.8309490479282254e-05,
        4.0269212343288505e-06,  -0.00019836149533099785, -0.00053135214140072296, 0.00089223599831150021,
        0.011238259242247342,    0.046439848471167909,    0.12948165075059559,     0.27811948195866781,
        0.48437498414282831,     0.70046492716831299,     0.84969577171772048};
    static constexpr double bell[] = {-1.2207061906403182e-11,
                                      2.698266336051534e-10,
                                      -5.3823410863614479e-09,
                                      9.6880832429456588e-08,
                                      -1.550099180203229e-06,
                                      2.1701388974417645e-05,
                                      -0.00026041666667170148,
                                      0.0026041666666581356,
                                      -0.020833333333333016,
                                      0.12500000000000028,
                                      -0.5,
                                      1.0};
    static constexpr double artanh[] = {0.15630577800922851, 0.074921437955507666, 0.10845178394880015,
                                        0.11734279061303197, 0.13335178631449257,  0.1538454396486055,
                                        0.18181819897962714, 0.22222222198236771,  0.28571428571600099,
                                        0.39999999999999525, 0.66666666666666663,  2.0};
    static constexpr int64_t upper = -134217728;
};

// x, not below (not above) the limit; NaN stays NaN.
template <class A>
CONVGPU_INLINE Vector<A> at_least(Vector<A> x, A limit) {
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm512_maskz_max_ps(0xffff, _mm512_set1_ps(limit), (__m512)x);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm512_maskz_max_pd(0xff, _mm512_set1_pd(limit), (__m512d)x);
#elif defined(__AVX2__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm256_max_ps(_mm256_set1_ps(limit), (__m256)x);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm256_max_pd(_mm256_set1_pd(limit), (__m256d)x);
#endif
    return x < limit ? broadcast(limit) : x;
}
template <class A>
CONVGPU_INLINE Vector<A> at_most(Vector<A> x, A limit) {
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(limit), (__m512)x);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm512_maskz_min_pd(0xff, _mm512_set1_pd(limit), (__m512d)x);
#elif defined(__AVX2__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm256_min_ps(_mm256_set1_ps(limit), (__m256)x);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm256_min_pd(_mm256_set1_pd(limit), (__m256d)x);
#endif
    return x > limit ? broadcast(limit) : x;
}
template <class A>
CONVGPU_INLINE Vector<A> within(Vector<A> x, A low, A high) {
    return at_most(at_least(x, low), high);
}

template <class A>
CONVGPU_INLINE Integers<A> sign_of(Vector<A> x) {
    return (Integers<A>)x & (Integers<A>)broadcast(A(-0.0));
}
template <class A>
CONVGPU_INLINE Vector<A> magnitude(Vector<A> x) {
    return (Vector<A>)((Integers<A>)x & ~(Integers<A>)broadcast(A(-0.0)));
}

template <class A, int N>
CONVGPU_INLINE Vector<A> polynomial(const A (&p)[N], Vector<A> x) {
    Vector<A> y = broadcast(p[0]);
#pragma GCC unroll 32
    for (int i = 1; i < N; ++i) y = y * x + p[i];
    return y;
}

// |x|, not above the limit; NaN becomes any number.
template <class A>
CONVGPU_INLINE Vector<A> magnitude_at_most(Vector<A> x, A limit) {
#if defined(__AVX512F__)
    constexpr int smaller_magnitude = 2, positive = 8;
    constexpr int how = smaller_magnitude | positive;
    if constexpr (sizeof(A) == 4)
        return (Vector<A>)_mm512_maskz_range_ps(0xffff, (__m512)x, _mm512_set1_ps(limit), how);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm512_maskz_range_pd(0xff, (__m512d)x, _mm512_set1_pd(limit), how);
#endif
    return at_most(magnitude<A>(x), limit);
}

// a^2 + b. What the square loses beyond the digits of a number counts where b is nearly -a^2.
template <class A>
CONVGPU_INLINE Vector<A> square_plus(Vector<A> a, Vector<A> b) {
#if defined(__AVX512F__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm512_fmadd_ps((__m512)a, (__m512)a, (__m512)b);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm512_fmadd_pd((__m512d)a, (__m512d)a, (__m512d)b);
#elif defined(__FMA__)
    if constexpr (sizeof(A) == 4) return (Vector<A>)_mm256_fmadd_ps((__m256)a, (__m256)a, (__m256)b);
    if constexpr (sizeof(A) == 8) return (Vector<A>)_mm256_fmadd_pd((__m256d)a, (__m256d)a, (__m256d)b);
#else
    const Vector<A> upper = (Vector<A>)((Integers<A>)a & Numbers<A>::upper);
    return (upper * upper + b) + (a - upper) * (a + upper);
#endif
}

// exp(-a^2 / 2). An error of the square would become one of the exponent, which is up to 105 units large.
template <class A>
CONVGPU_INLINE Vector<A> bell(Vector<A> a) {
    using E = Exponential<A>;
    const Vector<A> shifted = a * a * (E::log2_e * A(-0.5)) + E::to_integer, k = shifted - E::to_integer;
    const Vector<A> r = square_plus<A>(a, k * (2 * E::high)) + k * (2 * E::low);
    return scaled<A>(polynomial(Numbers<A>::bell, r), k, (Integers<A>)shifted);
}

// exp(x) - 1, for x <= 0.
template <class A>
CONVGPU_INLINE Vector<A> exponential_less_one(Vector<A> x) {
    using E = Exponential<A>;
    x = at_least(x, -Numbers<A>::one);
    const Vector<A> shifted = x * E::log2_e + E::to_integer, k = shifted - E::to_integer;
    const Vector<A> r = x - k * E::high - k * E::low, less = r * r * polynomial(E::p, r) + r;
    const Integers<A> power = (Integers<A>)shifted - (Integers<A>)broadcast(E::to_integer);
    const Vector<A> two_k = (Vector<A>)((power + E::bias) << E::digits);
    return two_k * less + (two_k - 1);
}

// log(1 + e), for e in [0, 1].
template <class A>
CONVGPU_INLINE Vector<A> log_of_one_more(Vector<A> e) {
    const Vector<A> s = e / (2 + e);
    return s * polynomial(Numbers<A>::artanh, s * s);
}

// 1 / (1 + exp(-x)), and 1 / (1 + exp(x)). Nothing overflows, and small results are exact.
template <class A>
struct Sigmoid {
    Vector<A> of_x, of_minus_x;
    CONVGPU_INLINE explicit Sigmoid(Vector<A> x) {
        const Vector<A> e = exponential(-magnitude<A>(x)), large = 1 / (1 + e), small = e * large;
        of_x = x < 0 ? small : large;
        of_minus_x = x < 0 ? large : small;
    }
};
template <class A>
CONVGPU_INLINE Vector<A> sigmoid(Vector<A> x) {
    const Vector<A> e = exponential(-magnitude<A>(x));
    return (x < 0 ? e : broadcast(A(1))) / (1 + e);
}

template <class A>
CONVGPU_INLINE Vector<A> hyperbolic_tangent(Vector<A> x) {
    const Vector<A> m = exponential_less_one<A>(magnitude<A>(x) * A(-2)), t = magnitude<A>(m / (2 + m));
    return (Vector<A>)((Integers<A>)t | sign_of<A>(x));
}

// x * cdf(x) = max(x, 0) - |x| * cdf(-|x|), and gelu(-inf) = -0.
template <class A>
CONVGPU_INLINE Vector<A> gelu(Vector<A> x) {
    using N = Numbers<A>;
    const Vector<A> a = magnitude_at_most(x, N::gelu_limit), v = a / (a + N::shift);
    return at_least(x, A(-0.0)) - v * polynomial(N::tail, N::start - v * N::slope) * bell<A>(a);
}
template <class A>
CONVGPU_INLINE Vector<A> gelu_slope(Vector<A> x) {
    using N = Numbers<A>;
    constexpr A density = A(0.39894228040143267794);
    const Vector<A> near = within(x, -N::gelu_limit, N::gelu_limit), a = magnitude<A>(near);
    const Vector<A> u = 1 / (a + N::shift), p = polynomial(N::tail, u * (N::slope * N::shift) + (N::start - N::slope));
    const Vector<A> b = bell<A>(a), tail = u * p * b, cdf = x < 0 ? tail : 1 - tail;
    return cdf + near * b * density;
}

// x / (1 + exp(-x)), which is x * exp(x) / (1 + exp(x)).
template <class A>
CONVGPU_INLINE Vector<A> silu(Vector<A> x) {
    using E = Exponential<A>;
    const Vector<A> a = at_most(magnitude<A>(x), Numbers<A>::silu_limit);
    const Vector<A> shifted = a * -E::log2_e + E::to_integer, k = shifted - E::to_integer;
    const Vector<A> r = -a - k * E::high - k * E::low, m = r * r * polynomial(E::p, r) + r + 1;
    const Vector<A> y = (x < 0 ? -a * m : x) / (1 + scaled<A>(m, k, (Integers<A>)shifted));
    const Vector<A> zero = broadcast(E::to_integer);
    return scaled<A>(y, x < 0 ? k : Vector<A>{}, x < 0 ? (Integers<A>)shifted : (Integers<A>)zero);
}

// gelu's approximation is x * sigmoid(2 * gelu_argument(x)).
constexpr double kGeluScale = 0.79788456080286535588, kGeluCubic = 0.044715;
constexpr int kGeluLimit = 40;
template <class A>
CONVGPU_INLINE Vector<A> gelu_argument(Vector<A> x) {
    return A(kGeluScale) * x * (1 + A(kGeluCubic) * x * x);
}

// Calls use(f), where f(x) is the activation.
template <class A, class Use>
CONVGPU_INLINE void with_function(const elementwise::Activated<double>& by, Use use) {
    using elementwise::Function;
    using V = Vector<A>;
    const A alpha = static_cast<A>(by.alpha), scale = static_cast<A>(by.scale), both = scale * alpha;
    switch (by.function) {
        case Function::kRelu:
            return use([](V x) { return x <= 0 ? V{} : x; });
        case Function::kLeakyRelu:
            return use([=](V x) { return x > 0 ? x : x * alpha; });
        case Function::kRelu6:
            return use([](V x) { return at_most(x <= 0 ? V{} : x, A(6)); });
        case Function::kSigmoid:
            return use([](V x) { return sigmoid<A>(x); });
        case Function::kTanh:
            return use([](V x) { return hyperbolic_tangent<A>(x); });
        case Function::kElu:
            return use([=](V x) { return x > 0 ? x * scale : exponential_less_one<A>(x) * both; });
        case Function::kSoftplus:
            return use([](V x) { return at_least(x, A(0)) + log_of_one_more<A>(exponential(-magnitude<A>(x))); });
        case Function::kSilu:
            return use([](V x) { return silu<A>(x); });
        case Function::kGelu:
            return use([](V x) { return gelu<A>(x); });
        case Function::kGeluTanh:
            return use([](V x) {
                const V near = within(x, A(-kGeluLimit), A(kGeluLimit));
                return at_least(x, A(-kGeluLimit)) * sigmoid<A>(2 * gelu_argument<A>(near));
            });
        case Function::kHardSigmoid:
            return use([](V x) { return within(x + 3, A(0), A(6)) / 6; });
        case Function::kHardTanh:
            return use([](V x) { return within(x, A(-1), A(1)); });
    }
}

// Calls use(f), where f(g, v) is g times the derivative. v is the activation's result for relu, relu6, sigmoid and
// tanh, and its argument for the others.
template <class A, class Use>
CONVGPU_INLINE void with_gradient(const elementwise::Activated<double>& by, Use use) {
    using elementwise::Function;
    using V = Vector<A>;
    const A alpha = static_cast<A>(by.alpha), scale = static_cast<A>(by.scale), both = scale * alpha;
    switch (by.function) {
        case Function::kRelu:
            return use([](V g, V y) { return y <= 0 ? V{} : g; });
        case Function::kLeakyRelu:
            return use([=](V g, V x) { return x > 0 ? g : g * alpha; });
        case Function::kRelu6:
            return use([](V g, V y) { return (y <= 0) | (y >= 6) ? V{} : g; });
        case Function::kSigmoid:
            return use([](V g, V y) { return (1 - y) * y * g; });
        case Function::kTanh:
            return use([](V g, V y) { return (1 - y) * (1 + y) * g; });
        case Function::kElu:
            return use([=](V g, V x) { return x > 0 ? g * scale : g * (exponential(at_most(x, A(0))) * both); });
        case Function::kSoftplus:
            return use([](V g, V x) { return g * sigmoid<A>(x); });
        case Function::kSilu:
            return use([](V g, V x) {
                const V near = within(x, -Numbers<A>::silu_limit, Numbers<A>::silu_limit);
                const Sigmoid<A> s(near);
                return g * (s.of_x * (1 + near * s.of_minus_x));
            });
        case Function::kGelu:
            return use([](V g, V x) { return g * gelu_slope<A>(x); });
        case Function::kGeluTanh:
            return use([](V g, V x) {
                const V near = within(x, A(-kGeluLimit), A(kGeluLimit));
                const Sigmoid<A> s(2 * gelu_argument<A>(near));
                const V slope = A(2 * kGeluScale) * (1 + A(3 * kGeluCubic) * near * near);
                return g * (s.of_x + near * slope * (s.of_x * s.of_minus_x));
            });
        case Function::kHardSigmoid:
            return use([](V g, V x) { return (x > -3) & (x < 3) ? g * A(1.0 / 6) : V{}; });
        case Function::kHardTanh:
            return use([](V g, V x) { return (x > -1) & (x < 1) ? g : V{}; });
    }
}

}  // namespace convgpu::cpu::CONVGPU_ISA
