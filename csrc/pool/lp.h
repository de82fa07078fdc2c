// The kernels of power pooling share these functions: powers, roots, and the power of a quotient.
#pragma once
#include <cmath>

#include "../device/launch.h"

namespace convgpu::pool {

// A multiprocessor holds at least so many blocks. Powers need many registers, and none may spill.
constexpr int kFewResident = 1;

// Returns t^exponent for t >= 0. The exponents 1 and 2 of the common norms are exact and cheap.
template <class A>
__device__ __forceinline__ A power_of(A t, A exponent) {
    if (exponent == A(1)) return t;
    if (exponent == A(2)) return t * t;
    return pow(t, exponent);
}

// Returns t^(1/norm) for t >= 0.
template <class A>
__device__ __forceinline__ A root_of(A t, A norm) {
    if (norm == A(1)) return t;
    if (norm == A(2)) return sqrt(t);
    return pow(t, A(1) / norm);
}

// Returns f(x / y) = |x / y|^exponent, times the sign of x if `with_sign` holds. The result is 0 where y is 0, and
// where x is 0 and the exponent is negative.
template <class A>
__device__ __forceinline__ A power_of_quotient(A x, A y, A exponent, bool with_sign) {
    if (y == A(0) || (x == A(0) && exponent < A(0))) return A(0);
    const A t = power_of(static_cast<A>(fabs(x / y)), exponent);
    if (!with_sign) return t;
    return x > A(0) ? t : x < A(0) ? -t : t * x;  // a NaN stays NaN
}

}  // namespace convgpu::pool
