"""Checks a sample of a result against float64, computed for these outputs alone, so that even large problems are quick.

For convolutions the sample is some pixels at the edges and within, with some channels; for weight gradients some of
their elements, over all images; for products rows and columns spread over the result. The expected values are plain
sums over taps, which share no code with kernels or with the reference. For pooling and layouts the sample is two whole
images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convgpu.backends import reference
from convgpu.benchmark.verification import WrongResultError, verify
from convgpu.cases.problem import Arrays, Problem
from convgpu.cases.tolerance import C_KERNEL, C_TF32
from convgpu.device import to_numpy
from convgpu.geometry import ConvGeometry

Index = tuple[int, ...]


def check(problem: Problem, arrays: Arrays, result: Any, precision: str = "float32") -> None:
    """Raise WrongResultError unless the sample is within the bound of docs/verification.md."""
    c = C_KERNEL + C_TF32 * (precision == "tf32" and problem.call.dtype == "float32")
    family = problem.facts.family
    if family == "conv":
        _conv(problem, arrays, result, c)
    elif family == "gemm":
        _gemm(problem, arrays, result, c)
    elif family == "pool":
        _pool(problem, arrays, result, c)
    else:
        axes = {"nchw_to_nhwc": (0, -1), "nhwc_to_nchw": (-1, 0)}[problem.op]  # the axes of one image
        if not all(np.array_equal(to_numpy(result[i]), np.moveaxis(to_numpy(arrays[0][i]), *axes)) for i in (0, -1)):
            raise WrongResultError(f"{problem.name}: expected the same elements, got others; not timed")


def _spread(n: int, most: int) -> list[int]:
    """Up to `most` indices, including the first and the last."""
    return sorted({round(i * (n - 1) / max(most - 1, 1)) for i in range(min(n, most))} | {n - 1})


def _pixels(batch: int, size: Sequence[int]) -> list[Index]:
    """The corners of the first and the last image, and some pixels within."""
    corners = itertools.product((0, batch - 1), *((0, n - 1) for n in size))
    generator = np.random.default_rng(1)
    within = [tuple(int(generator.integers(n)) for n in (batch, *size)) for _ in range(4)]
    return list(dict.fromkeys([*corners, *within]))


def _conv(problem: Problem, arrays: Arrays, result: Any, c: float) -> None:
    geo, of = problem.call.statics[0], {"conv_fprop": _fprop, "conv_dgrad": _dgrad, "conv_wgrad": _wgrad}[problem.op]
    got, exact, magnitude = of(geo, arrays, result)
    taps = math.prod(geo.kernel)
    length = {"conv_fprop": taps * geo.channels // geo.groups, "conv_dgrad": taps * geo.filters // geo.groups,
              "conv_wgrad": geo.batch * math.prod(geo.output)}[problem.op]
    verify(problem.name, np.array(got, result.dtype), np.array(exact), np.array(magnitude), length, c)


# results, exact values, and exact values computed from absolute values
Sample = tuple[list[Any], list[float], list[float]]


def _box(array: Any, image: int, first: Sequence[int], sides: Sequence[int]) -> np.ndarray:
    """A part of an image as float64, with zeros where the part reaches beyond the image."""
    inside = [(max(f, 0), min(f + side, n)) for f, side, n in zip(first, sides, array.shape[1:])]
    box = np.zeros((*sides, array.shape[-1]))
    if all(a < b for a, b in inside):
        part = to_numpy(array[(image, *(slice(a, b) for a, b in inside))])
        box[tuple(slice(a - f, b - f) for (a, b), f in zip(inside, first))] = part
    return box


def _fprop(geo: ConvGeometry, arrays: Arrays, result: Any) -> Sample:
    got, exact, magnitude = [], [], []
    filters, per_group = _spread(geo.filters, 6), geo.filters // geo.groups
    weights = {k: to_numpy(arrays[1][..., k]).astype(np.float64) for k in filters}
    channels = geo.channels // geo.groups
    sides = [(f - 1) * d + 1 for f, d in zip(geo.kernel, geo.dilation)]
    for image, *pixel in _pixels(geo.batch, geo.output):
        first = [p * s - before for p, s, (before, _) in zip(pixel, geo.stride, geo.padding)]
        window = _box(arrays[0], image, first, sides)[tuple(slice(None, None, d) for d in geo.dilation)]
        outputs = to_numpy(result[(image, *pixel)])
        for k in filters:
            group = k // per_group
            terms = window[..., group * channels:(group + 1) * channels] * weights[k]
            got.append(outputs[k])
            exact.append(terms.sum())
            magnitude.append(abs(terms).sum())
    return got, exact, magnitude


def _dgrad(geo: ConvGeometry, arrays: Arrays, result: Any) -> Sample:
    got, exact, magnitude = [], [], []
    channels, per_group, width = _spread(geo.channels, 6), geo.channels // geo.groups, geo.filters // geo.groups
    weights = {c: to_numpy(arrays[1][..., c % per_group, :]).astype(np.float64) for c in channels}
    for image, *pixel in _pixels(geo.batch, geo.size):
        met = [_windows_that_meet(geo, axis, at) for axis, at in enumerate(pixel)]
        gx, totals = to_numpy(result[(image, *pixel)]), dict.fromkeys(channels, (0.0, 0.0))
        for pairs in itertools.product(*met):
            taps, outputs = tuple(tap for tap, _ in pairs), tuple(output for _, output in pairs)
            gy = to_numpy(arrays[0][(image, *outputs)]).astype(np.float64)
            for c in channels:
                group = c // per_group
                columns = slice(group * width, (group + 1) * width)
                terms = gy[columns] * weights[c][taps][columns]
                totals[c] = totals[c][0] + terms.sum(), totals[c][1] + abs(terms).sum()
        for c in channels:
            got.append(gx[c])
            exact.append(totals[c][0])
            magnitude.append(totals[c][1])
    return got, exact, magnitude


def _windows_that_meet(geo: ConvGeometry, axis: int, pixel: int) -> list[tuple[int, int]]:
    """The pairs (tap, output) of the windows that contain a pixel."""
    found = []
    for tap in range(geo.kernel[axis]):
        output, rest = divmod(pixel + geo.padding[axis][0] - tap * geo.dilation[axis], geo.stride[axis])
        if rest == 0 and 0 <= output < geo.output[axis]:
            found.append((tap, output))
    return found


def _wgrad(geo: ConvGeometry, arrays: Arrays, result: Any) -> Sample:
    got, exact, magnitude = [], [], []
    per_group, width = geo.channels // geo.groups, geo.filters // geo.groups
    ends = tuple(0 for _ in geo.kernel), tuple(f - 1 for f in geo.kernel)
    for taps, k in ((ends[0], 0), (ends[1], geo.filters - 1), (tuple(f // 2 for f in geo.kernel), geo.filters // 2)):
        group = k // width
        c = k % per_group
        gy = to_numpy(arrays[1][..., k]).astype(np.float64)
        x = to_numpy(arrays[0][..., group * per_group + c]).astype(np.float64)
        inputs, outputs = [slice(None)], [slice(None)]
        for axis, tap in enumerate(taps):
            stride, shift = geo.stride[axis], tap * geo.dilation[axis] - geo.padding[axis][0]
            first = max((stride - 1 - shift) // stride, 0)  # the first output whose pixel exists
            last = min((geo.size[axis] - 1 - shift) // stride, geo.output[axis] - 1)
            outputs.append(slice(first, last + 1))
            inputs.append(slice(first * stride + shift, last * stride + shift + 1, stride))
        terms = x[tuple(inputs)] * gy[tuple(outputs)]
        got.append(to_numpy(result[(*taps, c)])[k])
        exact.append(terms.sum())
        magnitude.append(abs(terms).sum())
    return got, exact, magnitude


def _gemm(problem: Problem, arrays: Arrays, result: Any, c: float) -> None:
    """Check two grids of up to 64 rows and columns: one begins at the first row and column, the other ends at the last.
    """
    wide = np.longdouble if problem.call.dtype == "float64" else np.float64
    trans_a, trans_b = problem.call.statics[2:4]
    for at_end in (False, True):
        rows, columns = (_grid(n, at_end) for n in result.shape)
        a = to_numpy(arrays[0][:, rows]).T if trans_a else to_numpy(arrays[0][rows])
        b = to_numpy(arrays[1][columns]).T if trans_b else to_numpy(arrays[1][:, columns])
        a, b = a.astype(wide), b.astype(wide)
        verify(problem.name, to_numpy(result[rows, columns]), a @ b, abs(a) @ abs(b), a.shape[1], c)


def _grid(n: int, at_end: bool) -> slice:
    step = max(n // 32, 1)
    return slice((n - 1) % step if at_end else 0, n, step)


def _pool(problem: Problem, arrays: Arrays, result: Any, c: float) -> None:
    """Check the first and the last image, in two channels; winners and offsets must equal the reference's."""
    whole = problem.call.statics[0]
    geo = replace(whole, batch=1, channels=min(whole.channels, 2))
    function = getattr(reference, problem.op)
    for image in (slice(0, 1), slice(-1, None)):
        part = [to_numpy(array[image][..., :geo.channels]) for array in arrays]
        if problem.op == "max_pool":
            exact = function(part[0], geo, True)
            if not all(np.array_equal(to_numpy(r[image][..., :geo.channels]), e) for r, e in zip(result, exact)):
                raise WrongResultError(f"{problem.name}: expected the reference's winners, got others; not timed")
            continue
        wide = [array if array.dtype.kind == "u" else array.astype(np.float64) for array in part]
        absolute = [array if array.dtype.kind == "u" else abs(array) for array in wide]
        verify(problem.name, to_numpy(result[image][..., :geo.channels]), function(*wide, geo),
               function(*absolute, geo), math.prod(geo.window), c)
