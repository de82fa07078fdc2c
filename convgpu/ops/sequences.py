"""Functions of vectors and of sequences along an axis: cross products, correlation, integrals, powers, choices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import is_float, is_half
from ..op import Op
from ..tensor import Tensor, as_tensor
from .conv import conv
from .elementwise import astype, where, wide
from .joining import concatenate, pad, stack
from .products import cumprod, diff
from .reduce import sum as sum_over
from .shape import broadcast_to, expand_dims, flip, moveaxis, reshape


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """The cross product of vectors of size 3 (or 2: the third component is 0); two of size 2 give that component alone.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    Tensor([0., 0., 1.], dtype=float32)
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = moveaxis(as_tensor(a, "cross"), axisa, -1), moveaxis(as_tensor(b, "cross"), axisb, -1)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = wide(a), wide(b)
    if {a.shape[-1], b.shape[-1]} - {2, 3}:
        raise ValueError(f"cross: expected vectors of 2 or 3 components, got {a.shape[-1]} and {b.shape[-1]}")
    third = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    if a.shape[-1] == b.shape[-1] == 2:
        return astype(third, dtype)
    a, b = (pad(v, [(0, 0)] * (v.ndim - 1) + [(0, 3 - v.shape[-1])]) for v in (a, b))
    first = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    second = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    return astype(stack([first, second, third], axisc), dtype)


def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """c[k] = sum over n of a[n + k] * v[n] for two 1-D sequences. "valid" keeps the k at which one lies wholly inside
    the other, "same" as many as the longer has elements, "full" all k at which they overlap.

    >>> correlate([1.0, 2.0, 3.0], [0.0, 1.0])
    Tensor([2., 3.], dtype=float32)
    """
    a, v = as_tensor(a, "correlate"), as_tensor(v, "correlate")
    if mode not in ("valid", "same", "full") or a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"correlate: expected two 1-D sequences and mode 'valid', 'same' or 'full', got {a.shape}, "
                         f"{v.shape} and {mode!r}")
    if v.size > a.size:
        return flip(correlate(v, a, mode))
    dtype = np.result_type(a.dtype, v.dtype)
    if not is_float(dtype):
        return _correlate_integers(a, v, mode)
    around = {"valid": (0, 0), "same": (v.size // 2, (v.size - 1) // 2), "full": (v.size - 1,) * 2}[mode]
    images, filters = reshape(astype(a, dtype), (1, a.size, 1)), reshape(astype(v, dtype), (v.size, 1, 1))
    return reshape(conv(images, filters, padding=(around,)), (a.size + sum(around) - v.size + 1,))


_correlate_integers = Op("correlate_integers", "a, v; mode -> y", np.correlate)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral of y along `axis` by the trapezoidal rule, at the points x or at steps of dx.

    >>> trapezoid([1.0, 2.0, 3.0]).item()
    4.0
    """
    y = as_tensor(y, "trapezoid")
    ys, dtype = moveaxis(y, axis, -1), y.dtype
    steps: Any = dx
    if x is not None:
        x = as_tensor(x, "trapezoid")
        dtype = np.result_type(dtype, x.dtype)
        steps = diff(wide(x if x.ndim == 1 else moveaxis(x, axis, -1)), 1, -1)
    y = sum_over(steps * (wide(ys[..., 1:]) + wide(ys[..., :-1])) / 2.0, -1)
    return astype(y, dtype) if is_half(dtype) else y


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803 - NumPy's name
    """A row of powers for each element of a 1-D x, with the highest power first unless `increasing`.

    >>> vander([2.0, 3.0], 3).tolist()
    [[4.0, 2.0, 1.0], [9.0, 3.0, 1.0]]
    """
    x = as_tensor(x, "vander")
    n = x.size if N is None else N
    if x.ndim != 1:
        raise ValueError(f"vander: expected a 1-D sequence, got shape {x.shape}")
    one = as_tensor(np.ones((x.size, 1), x.dtype)).to(x.device)
    powers = concatenate([one, cumprod(broadcast_to(expand_dims(x, 1), (x.size, max(n - 1, 0))), 1)], 1)[:, :n]
    return powers if increasing else flip(powers, 1)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """For each element, the choice that belongs to the first condition that holds there; `default` where none holds.

    >>> select([np.array([True, False])], [np.array([1.0, 2.0])], 7).tolist()
    [1.0, 7.0]
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"select: expected as many choices as conditions, got {len(choicelist)} and {len(condlist)}")
    y = default
    for condition, choice in zip(reversed(list(condlist)), reversed(list(choicelist))):
        y = where(condition, choice, y)
    return y
