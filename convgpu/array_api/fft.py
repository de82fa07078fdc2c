"""The standard's functions of Fourier transforms that need no complex numbers."""

from __future__ import annotations

from typing import Any

import numpy as _np

from .. import numpy as _ours
from ..dtypes import DTypeLike
from ..tensor import Tensor, as_tensor, tensor

__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq"]


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """The frequencies of a transform of n samples at distances d."""
    return tensor(_np.fft.fftfreq(n, d), dtype=dtype or "float32", device=device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """The frequencies of a transform of n real samples at distances d."""
    return tensor(_np.fft.rfftfreq(n, d), dtype=dtype or "float32", device=device)


def fftshift(x: Any, /, *, axes: Any = None) -> Tensor:
    """The frequency 0 moved to the middle of the axes."""
    return _rolled("fftshift", x, axes, 1)


def ifftshift(x: Any, /, *, axes: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _rolled("ifftshift", x, axes, -1)


def _rolled(op: str, x: Any, axes: Any, direction: int) -> Tensor:
    x = as_tensor(x, op)
    along = tuple(range(x.ndim)) if axes is None else axes if isinstance(axes, (tuple, list)) else (axes,)
    return _ours.roll(x, tuple([direction * (x.shape[a] // 2) for a in along]), tuple(along))
