"""keras.ops.math: segments, the largest k, the error function, Fourier transforms of pairs (real, imaginary).

Other functions are borrowed from Keras's NumPy backend.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as onp
from keras.src.backend.common import dtypes, standardize_dtype

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Op, Tensor
from convgpu.device import GPU, is_gpu_array
from convgpu.dtypes import is_float
from convgpu.keras.borrow import borrow
from convgpu.ops.elementwise import ratio_or_zero, same
from convgpu.ops.gaussian import cdf, normal_pdf
from convgpu.ops.indexing import gathered
from convgpu.ops.repeated import combined_at

from .core import convert_to_tensor
from .rows import sum_segments

borrow("math", globals())

# --- segments


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:  # noqa: A002
    """For each segment, the sum of the entries of data with its number; negative numbers belong to no segment."""
    data, numbers = convert_to_tensor(data), convert_to_tensor(segment_ids)
    if data.device == numbers.device == GPU and num_segments is not None:
        return sum_segments(data, numbers.array, num_segments)
    data, ids, count = _segments(data, numbers, num_segments)
    zeros = cg.zeros((count, *data.shape[1:]), dtype=data.dtype, device=data.device)
    return zeros.at[ids].add(data)


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:  # noqa: A002
    """For each segment, the largest of the entries of data with its number; equal entries share the gradient."""
    return _segment_extreme("maximum", data, segment_ids, num_segments)


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:  # noqa: A002
    """For each segment, the smallest of the entries of data with its number; equal entries share the gradient."""
    return _segment_extreme("minimum", data, segment_ids, num_segments)


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Tensor:  # noqa: A002
    """For each segment, the product of the entries of data with its number."""
    data, ids, count = _segments(data, segment_ids, num_segments)
    order = onp.argsort(ids, kind="stable")
    members = onp.split(order, onp.searchsorted(ids[order], onp.arange(1, count)))[:count]
    return cnp.stack([cnp.prod(data[m], 0, data.dtype) for m in members])


def _segments(data: Any, segment_ids: Any, num_segments: int | None) -> tuple[Tensor, onp.ndarray, int]:
    data, ids = convert_to_tensor(data), convert_to_tensor(segment_ids).numpy()
    count = int(ids.max(initial=-1)) + 1 if num_segments is None else num_segments
    kept = onp.flatnonzero((ids >= 0) & (ids < count))
    return (data, ids, count) if len(kept) == len(ids) else (data[kept], ids[kept], count)


def _segment_extreme(ufunc: str, data: Any, segment_ids: Any, num_segments: int | None) -> Tensor:
    return _extreme_at(*_segments(data, segment_ids, num_segments), ufunc)


def _extreme_at_forward(x: Any, ids: onp.ndarray, count: int, ufunc: str) -> Any:
    """The extreme of each segment; for an empty segment -inf or inf, or 0 for integers."""
    nothing = (-math.inf if ufunc == "maximum" else math.inf) if is_float(x.dtype) else 0
    y = onp.full_like(x, nothing, shape=(count + is_gpu_array(x), *x.shape[1:]))
    if is_gpu_array(x):  # CuPy has ufunc.at for few ufuncs and dtypes
        places, extremes = combined_at(getattr(onp, ufunc), onp.asarray(ids, like=x), x, count)
        y[places] = extremes
        return y[:count]
    if not is_float(x.dtype):  # start from an entry of each segment: 0 must not take part in the comparison
        y[ids] = x
    getattr(onp, ufunc).at(y, ids, x)
    return y


def _extreme_at_rule(g: Tensor, x: Tensor, ids: onp.ndarray, count: int, y: Tensor) -> Tensor:
    won = same(x, y[ids])
    winners = segment_sum(won.astype(g.dtype), ids, count)
    return cnp.where(won, (g / cnp.maximum(winners, 1))[ids], 0)


_extreme_at = Op("keras_segment_extreme", "x; ids, count, ufunc -> y", _extreme_at_forward).vjp(x=_extreme_at_rule)

# --- the largest


def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:  # noqa: A002 - Keras's name
    """The k largest values along the last axis in descending order (equal values in their order), and their indices."""
    x = convert_to_tensor(x)
    n = x.shape[-1]
    indices = n - 1 - cnp.flip(cnp.argsort(cnp.flip(x, -1), -1), -1)[..., :k]
    return gathered(x, indices, -1), indices.astype("int32")


def in_top_k(targets: Any, predictions: Any, k: int) -> Tensor:
    """Whether the value of each target is among the k largest predictions of its row."""
    targets, predictions = convert_to_tensor(targets), convert_to_tensor(predictions)
    if predictions.device == GPU:  # a lookup would wait to see whether the targets are in range
        classes = cg.arange(predictions.shape[-1], device=GPU)
        least = top_k(predictions, k)[0][:, -1:]
        return cnp.any((targets[:, None] == classes) & (predictions >= least), -1)
    values = cnp.take_along_axis(predictions, targets[:, None], -1)
    return cnp.any(values >= top_k(predictions, k)[0], -1)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x)))."""
    return cg.logsumexp(convert_to_tensor(x), axis=axis, keepdims=keepdims)


def rsqrt(x: Any) -> Tensor:
    """1 / sqrt(x)."""
    return _floating(x) ** -0.5


# --- distances


_PIECE = 1 << 20  # elements of the differences between all pairs that are in memory at a time


def cdist(x: Any, y: Any) -> Tensor:
    """The distances between the n points of x and the m points of y: (..., n, k), (..., m, k) -> (..., n, m).

    The gradient of a distance of 0 is 0. Only a piece of the n x m differences is in memory at a time.
    """
    x, y = convert_to_tensor(x), convert_to_tensor(y)
    dtype = dtypes.result_type(x.dtype, y.dtype, float)
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError("`cdist` inputs must have rank >= 2")
    if x.shape[-1] != y.shape[-1]:
        raise ValueError("Last dimension of inputs to `cdist` must match")
    wide = "float64" if dtype == "float64" else "float32"
    batch = onp.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (cnp.broadcast_to(z.astype(wide), (*batch, *z.shape[-2:])) for z in (x, y))
    return _cdist(x, y).astype(dtype)


def _cdist_forward(x: Any, y: Any) -> Any:
    rows = max(1, _PIECE // max(1, y.size))
    pieces = []
    for start in range(0, max(1, x.shape[-2]), rows):
        d = x[..., start:start + rows, None, :] - y[..., None, :, :]
        pieces.append(onp.sqrt(onp.sum(onp.square(d, out=d), axis=-1)))
    return onp.concatenate(pieces, axis=-2)


def _cdist_rule(g: Tensor, x: Tensor, y: Tensor, distance: Tensor) -> Tensor:
    """The gradient of x: sum over j of g[i, j] (x[i] - y[j]) / distance[i, j]; subtracting y's middle saves digits."""
    pull = ratio_or_zero(g, distance)
    middle = cnp.mean(y.detach(), -2, keepdims=True) if y.shape[-2] else 0
    return cnp.sum(pull, -1, keepdims=True) * (x - middle) - cnp.matmul(pull, y - middle)


_cdist = Op("keras_cdist", "x, y -> distance", _cdist_forward).vjp(
    x=_cdist_rule,
    y=lambda g, x, y, distance: _cdist_rule(cnp.swapaxes(g, -1, -2), y, x, cnp.swapaxes(distance, -1, -2)))

# --- the error function, computed from the normal distribution function, whose tails keep their digits


def _erf_forward(x: Any) -> Any:
    z = onp.abs(x)
    tail = 1 - 2 * cdf(-z * math.sqrt(2))
    # Near 0, where the difference above loses digits, use the series 2/sqrt(pi) * (z - z^3/3 + z^5/10 - ...)
    small = onp.minimum(z, 0.5) ** 2
    series = onp.zeros_like(z)
    for n in range(12, -1, -1):
        series = series * small + (-1) ** n / (math.factorial(n) * (2 * n + 1))
    return onp.copysign(onp.where(z < 0.5, z * series * (2 / math.sqrt(math.pi)), tail), x)


def _erfinv_forward(y: Any) -> Any:
    """Giles's approximation, improved by two steps of Newton's method."""
    w = -onp.log((1 - y) * (1 + y))
    near, far = onp.minimum(w, 5.0) - 2.5, onp.sqrt(onp.maximum(w, 5.0)) - 3.0
    x = y * onp.where(w < 5, onp.polyval(_NEAR, near), onp.polyval(_FAR, far))
    for _ in range(2):
        x = x - (_erf_forward(x) - y) * (math.sqrt(math.pi) / 2) * onp.exp(x * x)
    return onp.where(onp.abs(y) == 1, onp.copysign(onp.inf, y), x)


_NEAR = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
         0.246640727, 1.50140941)
_FAR = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
        1.00167406, 2.83297682)


def _in_float64(function: Any) -> Any:
    def run(x: Any) -> Any:
        with onp.errstate(all="ignore"):
            return function(x.astype(onp.float64)).astype(x.dtype)

    return run


_erf = Op("erf", "x -> y", _in_float64(_erf_forward)).vjp(
    x=lambda g, x: g * 2 * math.sqrt(2) * normal_pdf(x * math.sqrt(2)))
_erfc = Op("erfc", "x -> y", _in_float64(lambda x: 2 * cdf(-x * math.sqrt(2)))).vjp(
    x=lambda g, x: g * -2 * math.sqrt(2) * normal_pdf(x * math.sqrt(2)))
_erfinv = Op("erfinv", "x -> y", _in_float64(_erfinv_forward)).vjp(
    x=lambda g, y: g * (math.sqrt(math.pi) / 2) * cnp.exp(y * y))


def _floating(x: Any) -> Tensor:
    x = convert_to_tensor(x)
    return x.astype(dtypes.result_type(x.dtype, float))


def erf(x: Any) -> Tensor:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return _erf(_floating(x))


def erfc(x: Any) -> Tensor:
    """1 - erf(x), computed so that small values keep their digits."""
    return _erfc(_floating(x))


def erfinv(x: Any) -> Tensor:
    """The y with erf(y) = x."""
    return _erfinv(_floating(x))


# --- Fourier transforms: a complex tensor is a pair of real ones; on the tape it has a last axis of size two


def _dft_forward(x: Any, axes: tuple[int, ...], backwards: bool) -> Any:
    z = x[..., 0] + 1j * x[..., 1]
    z = onp.fft.ifftn(z, axes=axes, norm="forward") if backwards else onp.fft.fftn(z, axes=axes)
    return onp.stack([z.real, z.imag], -1).astype(x.dtype)


# Without a scale factor each direction is the adjoint of the other.
_dft: Op = Op("dft", "x; axes, backwards -> y", _dft_forward).vjp(
    x=lambda g, axes, backwards: _dft(g, axes, not backwards))


def _transformed(x: Any, axes: tuple[int, ...], backwards: bool = False) -> tuple[Tensor, Tensor]:
    real, imaginary = _pair(x)
    axes = tuple([a % real.ndim for a in axes])
    y = _dft(cnp.stack([real, imaginary], -1), axes, backwards)
    if backwards:
        y = y / float(math.prod([real.shape[a] for a in axes]))
    return y[..., 0], y[..., 1]


def _pair(x: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError("Input `x` should be a tuple of two tensors - real and imaginary. "
                         f"Received: x={x}")
    real, imaginary = map(convert_to_tensor, x)
    if real.shape != imaginary.shape:
        raise ValueError("Input `x` should be a tuple of two tensors - real and imaginary. Both the real and imaginary "
                         f"parts should have the same shape. Received: {real.shape}, {imaginary.shape}")
    if real.dtype.kind not in "fV" or imaginary.dtype.kind not in "fV":
        raise ValueError(f"At least one tensor in input `x` is not of type float. Received: x={x}.")
    return real, imaginary


def fft(x: Any) -> tuple[Tensor, Tensor]:
    """The Fourier transform along the last axis."""
    return _transformed(x, (-1,))


def fft2(x: Any) -> tuple[Tensor, Tensor]:
    """The Fourier transform along the last two axes."""
    return _transformed(x, (-2, -1))


def ifft2(x: Any) -> tuple[Tensor, Tensor]:
    """The inverse of `fft2`."""
    return _transformed(x, (-2, -1), backwards=True)


def _of_length(x: Tensor, n: int) -> Tensor:
    """x cut or padded with zeros to n along its last axis."""
    more = n - x.shape[-1]
    return x[..., :n] if more <= 0 else cnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)])


def rfft(x: Any, fft_length: int | None = None) -> tuple[Tensor, Tensor]:
    """The first half of the Fourier transform of a real x; it determines the second half."""
    x = _floating(x)
    x = _of_length(x, x.shape[-1] if fft_length is None else fft_length)
    half = x.shape[-1] // 2 + 1
    real, imaginary = fft((x, cnp.zeros_like(x)))
    return real[..., :half], imaginary[..., :half]


def irfft(x: Any, fft_length: int | None = None) -> Tensor:
    """The real sequence whose `rfft` is x."""
    real, imaginary = _pair(x)
    n = 2 * (real.shape[-1] - 1) if fft_length is None else fft_length
    real, imaginary = _of_length(real, n // 2 + 1), _of_length(imaginary, n // 2 + 1)
    sign = onp.ones(n // 2 + 1, real.dtype)
    sign[0] = 0  # the imaginary parts of the constant and of an even length's highest frequency do not count
    if n % 2 == 0:
        sign[-1] = 0
    imaginary = imaginary * cg.tensor(sign, device=real.device)
    rest = slice(-2 if n % 2 == 0 else None, 0, -1)
    whole = (cnp.concatenate([real, real[..., rest]], -1), cnp.concatenate([imaginary, -imaginary[..., rest]], -1))
    return _transformed(whole, (-1,), backwards=True)[0]


def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Tensor:
    """All windows of `sequence_length` entries along the last axis; a window begins every `sequence_stride` entries."""
    x = convert_to_tensor(x)
    starts = onp.arange(0, x.shape[-1] - sequence_length + 1, sequence_stride)
    return x[..., starts[:, None] + onp.arange(sequence_length)]


def _window(window: Any, sequence_length: int, fft_length: int, like: Tensor) -> Tensor:
    """The window with zeros around it up to fft_length; a window of ones where none is given."""
    if window is None:
        return cnp.ones(fft_length, like.dtype)
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError('If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. '
                             f"Received: window={window}")
        turns = onp.cos(2 * math.pi * onp.arange(sequence_length) / sequence_length)
        window = 0.5 - 0.5 * turns if window == "hann" else 0.54 - 0.46 * turns
    win = convert_to_tensor(window, like.dtype)
    if win.shape != (sequence_length,):
        raise ValueError("The shape of `window` must be equal to [sequence_length]. "
                         f"Received: window shape={win.shape}")
    before = (fft_length - sequence_length) // 2
    return cnp.pad(win, [(before, fft_length - sequence_length - before)])


def stft(x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann",
         center: bool = True) -> tuple[Tensor, Tensor]:
    """The Fourier transforms of windows along the last axis: (..., windows, fft_length // 2 + 1)."""
    x = convert_to_tensor(x)
    if standardize_dtype(x.dtype) not in ("float32", "float64"):
        raise TypeError(f"Invalid input type. Expected `float32` or `float64`. Received: input type={x.dtype}")
    if fft_length < sequence_length:
        raise ValueError("`fft_length` must equal or larger than `sequence_length`. Received: "
                         f"sequence_length={sequence_length}, fft_length={fft_length}")
    win = _window(window, sequence_length, fft_length, x)
    if center:
        x = cnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(fft_length // 2,) * 2], mode="reflect")
    return rfft(extract_sequences(x, fft_length, sequence_stride) * win)


def istft(x: Any, sequence_length: int, sequence_stride: int, fft_length: int, length: int | None = None,
          window: Any = "hann", center: bool = True) -> Tensor:
    """The sequence whose `stft` is x: its frames, weighted by the window over the sum of its shifted squares, added."""
    frames = irfft(x, fft_length)
    if window is not None:
        win = _window(window, sequence_length, fft_length, frames)
        phases = onp.arange(fft_length) % sequence_stride
        overlap = cnp.zeros((sequence_stride,), win.dtype).at[phases].add(win * win)
        frames = frames * (win / overlap[phases])
    total = fft_length + sequence_stride * (frames.shape[-2] - 1)
    places = onp.arange(frames.shape[-2])[:, None] * sequence_stride + onp.arange(fft_length)
    y = cnp.zeros((*frames.shape[:-2], total), frames.dtype).at[..., places].add(frames)
    start = fft_length // 2 if center else 0
    end = start + length if length is not None else (-(fft_length // 2) if center else total)
    return y[..., start:end]


def logdet(x: Any) -> Tensor:
    """The logarithm of the absolute value of the determinant."""
    return cnp.linalg.slogdet(convert_to_tensor(x))[1]
