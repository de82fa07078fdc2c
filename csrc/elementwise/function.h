// The activations, which are functions of single elements, and their derivatives. Formulas, limits and what becomes of
// NaN are those of docs/elementwise.md.
#pragma once
#include <cmath>

#include "../device/launch.h"
#include "plan.h"

namespace convgpu::elementwise {

// Beyond these limits a factor of gelu or silu is exactly 0 or 1, even in float64. Keeping x within them avoids 0 *
// inf.
template <class A>
constexpr A kGeluLimit = A(40);
template <class A>
constexpr A kSiluLimit = A(750);

// x, not below `low` and not above `high`; NaN stays NaN.
template <class A>
__device__ __forceinline__ A within(A x, A low, A high) {
    return x < low ? low : x > high ? high : x;
}

// 1 / (1 + exp(-x)). It does not overflow, and small results are exact.
template <class A>
__device__ __forceinline__ A sigmoid(A x) {
    const A e = exp(x < 0 ? x : -x);
    return (x < 0 ? e : A(1)) / (1 + e);
}

// The normal distribution function, and its density.
template <class A>
__device__ __forceinline__ A normal_cdf(A x) {
    return A(0.5) * erfc(x * A(-0.70710678118654752440));
}
template <class A>
__device__ __forceinline__ A normal_pdf(A x) {
    return exp(x * x * A(-0.5)) * A(0.39894228040143267794);
}

// gelu's approximation is x * sigmoid(2 * gelu_argument(x)).
template <class A>
__device__ __forceinline__ A gelu_argument(A x) {
    return A(0.79788456080286535588) * x * (1 + A(0.044715) * x * x);
}

// Calls use(f), where f(x) is the activation.
template <class A, class Use>
__device__ __forceinline__ void with_function(const Activated<A>& by, Use use) {
    const A alpha = by.alpha, scale = by.scale;
    switch (by.function) {
        case Function::kRelu:
            return use([](A x) { return x <= 0 ? A(0) : x; });
        case Function::kLeakyRelu:
            return use([=](A x) { return x > 0 ? x : x * alpha; });
        case Function::kRelu6:
            return use([](A x) { return within(x, A(0), A(6)); });
        case Function::kSigmoid:
            return use([](A x) { return sigmoid(x); });
        case Function::kTanh:
            return use([](A x) { return static_cast<A>(tanh(x)); });
        case Function::kElu:
            return use([=](A x) { return x > 0 ? scale * x : scale * alpha * static_cast<A>(expm1(x)); });
        case Function::kSoftplus:
            return use([](A x) { return (x > 0 ? x : A(0)) + static_cast<A>(log1p(exp(x > 0 ? -x : x))); });
        case Function::kSilu:
            return use([](A x) { return (x < -kSiluLimit<A> ? -kSiluLimit<A> : x) * sigmoid(x); });
        case Function::kGelu:
            return use([](A x) { return (x < -kGeluLimit<A> ? -kGeluLimit<A> : x) * normal_cdf(x); });
        case Function::kGeluTanh:
            return use([](A x) {
                const A near = within(x, -kGeluLimit<A>, kGeluLimit<A>);
                return (x < -kGeluLimit<A> ? -kGeluLimit<A> : x) * sigmoid(2 * gelu_argument(near));
            });
        case Function::kHardSigmoid:
            return use([](A x) { return within(x + 3, A(0), A(6)) / 6; });
        case Function::kHardTanh:
            return use([](A x) { return within(x, A(-1), A(1)); });
    }
}

// Calls use(f), where f(g, v) is g times the derivative. v is the activation's result for relu, relu6, sigmoid and
// tanh, and its argument for the others.
template <class A, class Use>
__device__ __forceinline__ void with_gradient(const Activated<A>& by, Use use) {
    const A alpha = by.alpha, scale = by.scale;
    switch (by.function) {
        case Function::kRelu:
            return use([](A g, A y) { return y <= 0 ? A(0) : g; });
        case Function::kLeakyRelu:
            return use([=](A g, A x) { return x > 0 ? g : g * alpha; });
        case Function::kRelu6:
            return use([](A g, A y) { return y <= 0 || y >= 6 ? A(0) : g; });
        case Function::kSigmoid:
            return use([](A g, A y) { return (1 - y) * y * g; });
        case Function::kTanh:
            return use([](A g, A y) { return (1 - y) * (1 + y) * g; });
        case Function::kElu:
            return use([=](A g, A x) { return x > 0 ? g * scale : g * (scale * alpha * static_cast<A>(exp(x))); });
        case Function::kSoftplus:
            return use([](A g, A x) { return g * sigmoid(x); });
        case Function::kSilu:
            return use([](A g, A x) {
                const A near = within(x, -kSiluLimit<A>, kSiluLimit<A>);
                return g * (sigmoid(near) * (1 + near * sigmoid(-near)));
            });
        case Function::kGelu:
            return use([](A g, A x) {
                const A near = within(x, -kGeluLimit<A>, kGeluLimit<A>);
                return g * (normal_cdf(near) + near * normal_pdf(near));
            });
        case Function::kGeluTanh:
            return use([](A g, A x) {
                const A near = within(x, -kGeluLimit<A>, kGeluLimit<A>), u = 2 * gelu_argument(near), s = sigmoid(u);
                const A slope = A(2 * 0.79788456080286535588) * (1 + A(3 * 0.044715) * near * near);
                return g * (s + near * slope * (s * sigmoid(-u)));
            });
        case Function::kHardSigmoid:
            return use([](A g, A x) { return x > -3 && x < 3 ? g / 6 : A(0); });
        case Function::kHardTanh:
            return use([](A g, A x) { return x > -1 && x < 1 ? g : A(0); });
    }
}

}  // namespace convgpu::elementwise
