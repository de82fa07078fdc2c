"""The standard normal distribution, which the exact GELU is built from.

    pdf(x) = exp(-x^2 / 2) / sqrt(2 pi)        cdf(x) = erfc(-x / sqrt(2)) / 2

NumPy has no erf. The rational approximations are those of W. J. Cody, "Rational Chebyshev approximations for the error
function" (1969): relative errors at the level of float64's rounding, in the far tail too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor
from .elementwise import exp

# elements computed at a time on the CPU, so that the forty or so intermediate results stay in its cache
CHUNK = 1 << 13

# Numerator and denominator of three approximations, highest power first: of erf(z)/z in z^2 for z < 0.47, of
# erfc(z)*exp(z^2) in z up to 4, and of z^2 * (1/sqrt(pi) - z*erfc(z)*exp(z^2)) in 1/z^2 above.
_CENTRE = ((1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
            3.20937758913846947e3),
           (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3))
_FLANK = ((2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
           2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
           1.23033935479799725e3),
          (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
           3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3))
_TAIL = ((1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
          1.60837851487422766e-2, 6.58749161529837803e-4),
         (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
          2.33520497626869185e-3))


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], z: Any) -> Any:
    """The quotient of two polynomials, by Horner's rule."""
    values = []
    for polynomial in coefficients:
        value = z * polynomial[0]
        for c in polynomial[1:-1]:
            value += c
            value *= z
        value += polynomial[-1]
        values.append(value)
    return values[0] / values[1]


def cdf(x: Any) -> Any:
    """The normal distribution function of an array of float32 or float64."""
    if not isinstance(x, np.ndarray) or x.size <= CHUNK:
        return _cdf(x)
    flat, y = x.reshape(-1), np.empty(x.size, x.dtype)
    for start in range(0, x.size, CHUNK):
        y[start:start + CHUNK] = _cdf(flat[start:start + CHUNK])
    return y.reshape(x.shape)


def _cdf(x: Any) -> Any:
    z = np.minimum(np.abs(x) * math.sqrt(0.5), 1e18)  # the limit keeps z*z from overflowing
    largest = z.max() if z.size else 0
    # Compute erfc(z)/2 in three ranges of z; each formula is evaluated at a harmless z outside its own range.
    y = 0.5 - 0.5 * z * _ratio(_CENTRE, np.minimum(z, 0.5) ** 2)
    if not largest < 0.46875:  # true for NaN too
        bell = 0.5 * np.exp(-(z * z))
        y = np.where(z < 0.46875, y, bell * _ratio(_FLANK, np.minimum(z, 4.0)))
    if not largest <= 4.0:
        far = 1 / np.maximum(z, 4.0)
        y = np.where(z <= 4.0, y, bell * far * (1 / math.sqrt(math.pi) - far * far * _ratio(_TAIL, far * far)))
    return np.where(x > 0, 1 - y, y)


def normal_pdf(x: Tensor) -> Tensor:
    """The normal density, computed with ops so that it can be differentiated."""
    return exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


normal_cdf = Op("normal_cdf", "x -> y", cdf).vjp(x=lambda g, x: g * normal_pdf(x))
