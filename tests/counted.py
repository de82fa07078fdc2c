"""Counts what the stand-in for CuPy and the emulated kernels launch while a step really runs.

The counts are made from outside: the stand-in's functions are wrapped. They follow CuPy 14: a ufunc, a reduction, a
conversion and a copy are one launch each, and nothing is launched where there is nothing to write.
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fake_cupy
import numpy as np
import pytest

from convgpu import backends

VIEWS = {"broadcast_to", "expand_dims", "flip", "moveaxis", "squeeze", "swapaxes", "transpose", "reshape", "ravel",
         "empty_like", "shares_memory", "may_share_memory", "result_type", "ascontiguousarray"}


class Counts:
    """Launches by the name of CuPy's function, those of the compiled kernels, the waits of the host, and the most bytes
    that were allocated at the same time since counting began.
    """

    def __init__(self) -> None:
        self.cupy: collections.Counter[str] = collections.Counter()
        self.kernels = self.waits = self.live = self.peak = 0

    def allocated(self, array: Any) -> Any:
        """Note new memory, in units of 512 bytes as CuPy's pool gives it, until its last view is gone."""
        owner = array._host
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        nbytes = -(-array.nbytes // 512) * 512
        self.live += nbytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(owner, self._freed, nbytes)
        return array

    def _freed(self, nbytes: int) -> None:
        self.live -= nbytes


def _launches(name: str, args: Any, result: Any) -> int:
    """The launches of one function of CuPy's, besides those of methods that it calls."""
    if name in VIEWS or getattr(result, "size", 1) == 0:
        return 0
    if name in ("concatenate", "stack"):
        arrays = list(args[0])
        small = len(arrays) > 8 and result.nbytes < len(arrays) << 21
        return 1 if small else sum(a.size > 0 for a in arrays)
    return {"pad": 2, "var": 2, "std": 3}.get(name, 1)


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    """Count from here on, within a test that uses the stand-in."""
    counts, module = Counts(), backends.load("cuda").module
    before, waited = module.launches(), fake_cupy.device.synchronizations
    make_zeros, ufunc, function = fake_cupy.zeros, fake_cupy._call_ufunc, fake_cupy._call_function
    array = fake_cupy.ndarray
    copy, astype, fill, put, take = array.copy, array.astype, array.fill, array.__setitem__, array.__getitem__

    def call_ufunc(which: np.ufunc, *args: Any) -> Any:
        result = ufunc(which, *args)
        counts.cupy[which.__name__] += result.size > 0
        return result

    def call_function(name: str, args: Any, options: Any) -> Any:
        result = function(name, args, options)
        counts.cupy[name] += _launches(name, args, result)
        return result

    def counted(name: str, method: Any) -> Any:
        def run(self: Any, *args: Any, **options: Any) -> Any:
            result = method(self, *args, **options)
            made = result is not self and (result is None or getattr(result, "size", 1) > 0)
            counts.cupy[name] += made and self.size > 0
            return result

        return run

    def getitem(self: Any, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        result = take(self, index)
        counts.cupy["take"] += any(isinstance(i, array) for i in parts) and result.size > 0
        return result

    def zeros(shape: Any, dtype: Any) -> Any:
        counts.cupy["zeros"] += 1
        return make_zeros(shape, dtype)

    def setitem(self: Any, index: Any, value: Any) -> None:
        same = isinstance(value, array) and not isinstance(index, array) and (
            (part := take(self, index)).data, part.strides) == (value.data, value.strides)
        put(self, index, value)
        counts.cupy["setitem"] += not same and self.size > 0

    with monkeypatch.context() as patch:
        new, empty = fake_cupy._new, fake_cupy.empty
        patch.setattr(fake_cupy, "zeros", zeros)
        patch.setattr(fake_cupy, "_new", lambda host: counts.allocated(new(host)))
        patch.setattr(fake_cupy, "empty", lambda *args: counts.allocated(empty(*args)))
        patch.setattr(fake_cupy, "_call_ufunc", call_ufunc)
        patch.setattr(fake_cupy, "_call_function", call_function)
        for name, method in (("copy", copy), ("astype", astype), ("fill", fill)):
            patch.setattr(array, name, counted(name, method))
        patch.setattr(array, "__setitem__", setitem)
        patch.setattr(array, "__getitem__", getitem)
        yield counts
    counts.cupy = +counts.cupy
    counts.kernels = module.launches() - before
    counts.waits = fake_cupy.device.synchronizations - waited
