"""Convolution and its gradients by another road than the engine's, in wide precision: what the tests compare with.

Forward: explicit zero padding, a view of all windows, one einsum. Gradient of the input: every tap scatters into the
padded image, which is cropped at the end. Channels last throughout; no code of the engine is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Options(NamedTuple):
    """Numbers per axis."""

    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


class Exact(NamedTuple):
    """A result, and the same op on absolute values: what its rounding errors are proportional to."""

    value: np.ndarray
    magnitude: np.ndarray


def options_of(case) -> Options:
    """A case's options as numbers: a second reading of what 'same', 'full' and short forms mean."""
    rank = len(case.x) - 2
    kernel = case.w[:rank]

    def each(value):
        return (value,) * rank if isinstance(value, int) else tuple(value)

    stride, dilation = each(case.stride), each(case.dilation)
    span = [1 + (f - 1) * d for f, d in zip(kernel, dilation)]
    size = case.x[1:-1]
    if case.form == "conv_transpose" and case.padding == "same":
        size = [n * s for n, s in zip(size, stride)]
    if case.padding == "valid":
        pads = [(0, 0)] * rank
    elif case.padding == "full":
        pads = [(n - 1, n - 1) for n in span]
    elif case.padding == "same":
        pads = []
        for n, s, e in zip(size, stride, span):
            out = (n + s - 1) // s
            total = max(0, (out - 1) * s + e - n)
            pads.append((total // 2, (total + 1) // 2))
    else:
        pads = [(p, p) if isinstance(p, int) else tuple(p) for p in each(case.padding)]
    groups = max(case.x[-1], 1) if case.form == "depthwise_conv" else case.groups
    return Options(stride, tuple(pads), dilation, groups)


def conv(x, w, o: Options):
    """y of a convolution; x (N, spatial..., C), w (spatial..., C/groups, K)."""
    windows = _windows(x, w.shape[:-2], o)
    rank = x.ndim - 2
    taps, pixels = "rst"[:rank], "opq"[:rank]
    parts = [_einsum(f"n{pixels}c{taps},{taps}ck->n{pixels}k", xs, ws)
             for xs, ws in zip(_split(windows, 1 + rank, o.groups), _split(w, -1, o.groups))]
    return np.concatenate(parts, axis=-1)


def weight_gradient(x, g, kernel, o: Options):
    """The gradient of <g, conv(x, w)> with respect to w."""
    rank = x.ndim - 2
    taps, pixels = "rst"[:rank], "opq"[:rank]
    parts = [_einsum(f"n{pixels}c{taps},n{pixels}k->{taps}ck", xs, gs)
             for xs, gs in zip(_split(_windows(x, kernel, o), 1 + rank, o.groups), _split(g, -1, o.groups))]
    return np.concatenate(parts, axis=-1)


def input_gradient(g, w, size, o: Options):
    """The gradient of <g, conv(x, w)> with respect to x, of spatial sizes `size`: also a transposed convolution."""
    kernel, c = w.shape[:-2], w.shape[-2]
    reach = [max(n + a + b, (p - 1) * s + (f - 1) * d + 1)
             for n, (a, b), p, s, f, d in zip(size, o.pads, g.shape[1:-1], o.stride, kernel, o.dilation)]
    padded = np.zeros((g.shape[0], *reach, c * o.groups), g.dtype)
    parts = list(zip(_split(g, -1, o.groups), _split(w, -1, o.groups)))
    for tap in np.ndindex(*kernel):
        part = [gs @ ws[tap].T for gs, ws in parts]
        at = tuple(slice(r * d, r * d + (p - 1) * s + 1, s) if p else slice(0, 0)
                   for r, d, p, s in zip(tap, o.dilation, g.shape[1:-1], o.stride))
        padded[(slice(None), *at)] += np.concatenate(part, axis=-1)
    return padded[(slice(None), *(slice(a, a + n) for n, (a, _) in zip(size, o.pads)))]


def _windows(x, kernel, o: Options):
    """(N, out..., C, taps...) of the zero-padded images."""
    rank = x.ndim - 2
    axes = tuple(range(1, 1 + rank))
    padded = np.pad(x, [(0, 0), *o.pads, (0, 0)])
    span = tuple((f - 1) * d + 1 for f, d in zip(kernel, o.dilation))
    if any(e > n for e, n in zip(span, padded.shape[1:-1])):  # "same" on nothing: no output
        return np.zeros((x.shape[0], *[-(-n // s) for n, s in zip(x.shape[1:-1], o.stride)], x.shape[-1], *kernel))
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axes)
    out = tuple(slice(None, None, s) for s in o.stride)
    return windows[(slice(None), *out, slice(None), *(slice(None, None, d) for d in o.dilation))]


def _einsum(subscripts, a, b):
    return np.einsum(subscripts, a, b, optimize=a.dtype == np.float64)  # by BLAS, which only float64 has here


def _split(a, axis, groups):
    return np.split(a, groups, axis=axis)


def exact(case, x, w, bias, g) -> dict[str, Exact]:
    """All results of a case: y and the gradients of <g, y> with respect to x, w and bias. All channels last."""
    values = _results(case, x, w, bias, g)
    magnitudes = _results(case, *map(np.abs, (x, w, bias, g)))
    return {name: Exact(values[name], magnitudes[name]) for name in values}


def _results(case, x, w, bias, g):
    o = options_of(case)
    kernel = w.shape[:-2]
    if case.form == "conv_transpose":
        size = g.shape[1:-1]
        results = {"y": input_gradient(x, w, size, o), "x": _first(conv(g, w, o), x.shape),
                   "w": weight_gradient(g, _extended(x, conv(g, w, o).shape), kernel, o)}
    else:
        shape = w.shape
        if case.form == "depthwise_conv":
            w = w.reshape(*kernel, min(shape[-2], 1), shape[-2] * shape[-1])
        results = {"y": conv(x, w, o), "x": input_gradient(g, w, x.shape[1:-1], o),
                   "w": weight_gradient(x, g, kernel, o).reshape(shape)}
    results["y"] = results["y"] + bias
    results["bias"] = g.sum(axis=tuple(range(g.ndim - 1)))
    return results


def _first(y, shape):
    """What a transposed convolution has of the y of its convolution: output_padding may make that longer."""
    return y[tuple(map(slice, shape))]


def _extended(x, shape):
    return np.pad(x, [(0, m - n) for n, m in zip(x.shape, shape)])


def output_shape(case) -> tuple[int, ...]:
    """The shape of the result, by the formulas of the documentation."""
    o = options_of(case)
    rank = len(case.x) - 2
    sizes = zip(case.x[1:-1], case.w[:rank], o.stride, o.pads, o.dilation)
    if case.form == "conv_transpose":
        extra = case.output_padding if case.output_padding is not None else 0
        extra = (extra,) * rank if isinstance(extra, int) else extra
        size = [n * s if case.padding == "same" else (n - 1) * s - a - b + (f - 1) * d + 1 + e
                for (n, f, s, (a, b), d), e in zip(sizes, extra)]
        return (case.x[0], *size, case.w[-2] * case.groups)
    size = [(n + a + b - (f - 1) * d - 1) // s + 1 for n, f, s, (a, b), d in sizes]
    filters = case.w[-2] * case.w[-1] if case.form == "depthwise_conv" else case.w[-1]
    return (case.x[0], *size, filters)
