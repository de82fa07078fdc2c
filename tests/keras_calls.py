"""One call of every function of keras.ops that computes, as a table; and the dtypes of its results, on any backend.

As a program it prints them as JSON on the backend that KERAS_BACKEND names: `KERAS_BACKEND=jax python keras_calls.py`.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

if os.environ.get("KERAS_BACKEND", "convgpu") == "convgpu":
    import convgpu.keras  # noqa: F401

# isort: split
import keras
from keras import tree

Call = Callable[..., Any]
DTYPES = ("bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64")
PAIRED = ("bool", "uint8", "int8", "int32", "float16", "bfloat16", "float32")
FLOATS = ("float16", "bfloat16", "float32", "float64")
o = keras.ops

# --- what is called: a name, the shapes of its operands, and the call where it has other arguments, too

UNARY = """
abs absolute all amax amin angle any arccos arccosh arcsin arcsinh arctan arctanh argmax argmin argsort array
average bitwise_invert bitwise_not cbrt ceil celu conj conjugate copy cos cosh count_nonzero cumprod cumsum deg2rad
diag diagflat diagonal diff elu empty_like erf erfc erfinv exp exp2 expm1 fabs flip fliplr flipud floor gelu glu
hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh i0 imag isfinite isinf isnan isneginf isposinf isreal
leaky_relu log log10 log1p log2 log_sigmoid log_softmax logical_not logsumexp max mean median min nan_to_num
nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanprod nanstd nansum nanvar negative
nonzero norm normalize ones_like prod ptp rad2deg ravel real reciprocal relu relu6 rms_normalization round rot90
rsqrt selu sigmoid sign signbit silu sin sinc sinh soft_shrink softmax softplus softsign sort sparse_plus
sparse_sigmoid sparsemax sqrt square squareplus squeeze std stop_gradient sum swish tan tanh tanh_shrink trace
transpose trapezoid tril triu trunc unique unstack var zeros_like layer_normalization corrcoef rfft
""".split()
BINARY = """
add append arctan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor cross divide
divide_no_nan equal floor_divide fmax fmin fmod gcd greater greater_equal heaviside hypot inner isclose isin kron
lcm ldexp left_shift less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor maximum minimum mod
multiply nextafter not_equal outer power right_shift subtract true_divide vdot dot tensordot cdist
""".split()
SCALARS = """
add subtract multiply divide true_divide floor_divide mod power maximum minimum fmax fmin divide_no_nan arctan2
logaddexp equal not_equal greater greater_equal less less_equal logical_and logical_or logical_xor
""".split()
CALLS: dict[str, tuple[tuple[tuple[int, ...], ...], Call]] = {
    **{name: (((2, 4),), getattr(o, name)) for name in UNARY},
    **{name: (((3, 3), (3, 3)), getattr(o, name)) for name in BINARY},
    "adaptive_average_pool": (((1, 4, 4, 1),),
                              lambda x: o.adaptive_average_pool(x, (2, 2), data_format="channels_last")),
    "adaptive_max_pool": (((1, 4, 4, 1),), lambda x: o.adaptive_max_pool(x, (2, 2), data_format="channels_last")),
    "argpartition": (((4,),), lambda x: o.argpartition(x, 1)),
    "array_split": (((4,),), lambda x: o.array_split(x, 2)),
    "average_pool": (((1, 4, 4, 1),), lambda x: o.average_pool(x, 2)),
    "batch_normalization": (((2, 3), (3,), (3,)), lambda x, m, v: o.batch_normalization(x, m, v, -1)),
    "bincount": (((4,),), o.bincount),
    "broadcast_to": (((4,),), lambda x: o.broadcast_to(x, (2, 4))),
    "clip": (((4,),), lambda x: o.clip(x, 0, 1)),
    "concatenate": (((4,), (4,)), lambda x, y: o.concatenate([x, y])),
    "conv": (((1, 4, 4, 2), (2, 2, 2, 3)), lambda x, w: o.conv(x, w, data_format="channels_last")),
    "conv_transpose": (((1, 4, 4, 2), (2, 2, 3, 2)), lambda x, w: o.conv_transpose(x, w, data_format="channels_last")),
    "correlate": (((4,), (3,)), o.correlate),
    "depth_to_space": (((1, 2, 2, 4),), lambda x: o.depth_to_space(x, 2)),
    "depthwise_conv": (((1, 4, 4, 2), (2, 2, 2, 1)), lambda x, w: o.depthwise_conv(x, w, data_format="channels_last")),
    "digitize": (((4,),), lambda x: o.digitize(x, np.array([0.0, 1.0], "float32"))),
    "dot_product_attention": (((1, 2, 1, 4),) * 3, o.dot_product_attention),
    "dsplit": (((2, 2, 4),), lambda x: o.dsplit(x, 2)),
    "dstack": (((2, 2), (2, 2)), lambda x, y: o.dstack([x, y])),
    "einsum": (((2, 3), (3, 2)), lambda x, y: o.einsum("ij,jk->ik", x, y)),
    "expand_dims": (((4,),), lambda x: o.expand_dims(x, 0)),
    "extract_sequences": (((8,),), lambda x: o.extract_sequences(x, 4, 2)),
    "fold": (((1, 4, 4),), lambda x: o.fold(x, (3, 3), 2)),
    "full_like": (((4,),), lambda x: o.full_like(x, 2)),
    "get_item": (((4,),), lambda x: o.get_item(x, 1)),
    "histogram": (((4,),), o.histogram),
    "hsplit": (((4,),), lambda x: o.hsplit(x, 2)),
    "hstack": (((2, 2), (2, 2)), lambda x, y: o.hstack([x, y])),
    "linspace": (((2,), (2,)), lambda x, y: o.linspace(x, y, 3)),
    "logspace": (((2,), (2,)), lambda x, y: o.logspace(x, y, 3)),
    "geomspace": (((2,), (2,)), lambda x, y: o.geomspace(x, y, 3)),
    "matmul": (((3, 3), (3, 3)), o.matmul),
    "max_pool": (((1, 4, 4, 1),), lambda x: o.max_pool(x, 2)),
    "meshgrid": (((2,), (3,)), lambda x, y: o.meshgrid(x, y)),
    "moments": (((2, 3),), lambda x: o.moments(x, [0])),
    "moveaxis": (((2, 3),), lambda x: o.moveaxis(x, 0, 1)),
    "multi_hot": (((2, 3),), lambda x: o.multi_hot(x, 4)),
    "nanpercentile": (((4,),), lambda x: o.nanpercentile(x, 50)),
    "nanquantile": (((4,),), lambda x: o.nanquantile(x, 0.5)),
    "one_hot": (((4,),), lambda x: o.one_hot(x, 3)),
    "pad": (((4,),), lambda x: o.pad(x, ((1, 1),))),
    "percentile": (((4,),), lambda x: o.percentile(x, 50)),
    "quantile": (((4,),), lambda x: o.quantile(x, 0.5)),
    "repeat": (((4,),), lambda x: o.repeat(x, 2)),
    "reshape": (((4,),), lambda x: o.reshape(x, (2, 2))),
    "roll": (((4,),), lambda x: o.roll(x, 1)),
    "saturate_cast": (((4,),), lambda x: o.saturate_cast(x, "uint8")),
    "scatter": (((2,),), lambda x: o.scatter(np.array([[0], [2]]), x, (4,))),
    "scatter_update": (((4,), (2,)), lambda x, u: o.scatter_update(x, np.array([[0], [2]]), u)),
    "searchsorted": (((4,), (2,)), o.searchsorted),
    "segment_max": (((4,),), lambda x: o.segment_max(x, np.array([0, 0, 1, 1]), 2)),
    "segment_min": (((4,),), lambda x: o.segment_min(x, np.array([0, 0, 1, 1]), 2)),
    "segment_prod": (((4,),), lambda x: o.segment_prod(x, np.array([0, 0, 1, 1]), 2)),
    "segment_sum": (((4,),), lambda x: o.segment_sum(x, np.array([0, 0, 1, 1]), 2)),
    "select": (((4,), (4,)), lambda x, y: o.select([np.array([True, False, True, False])], [x], 0)),
    "separable_conv": (((1, 4, 4, 2), (2, 2, 2, 1), (1, 1, 2, 3)),
                       lambda x, d, p: o.separable_conv(x, d, p, data_format="channels_last")),
    "slice": (((4,),), lambda x: o.slice(x, (1,), (2,))),
    "slice_update": (((4,), (2,)), lambda x, y: o.slice_update(x, (1,), y)),
    "space_to_depth": (((1, 2, 2, 1),), lambda x: o.space_to_depth(x, 2)),
    "split": (((4,),), lambda x: o.split(x, 2)),
    "stack": (((4,), (4,)), lambda x, y: o.stack([x, y])),
    "swapaxes": (((2, 3),), lambda x: o.swapaxes(x, 0, 1)),
    "take": (((4,),), lambda x: o.take(x, np.array([0, 1]))),
    "take_along_axis": (((4,),), lambda x: o.take_along_axis(x, np.array([0, 1]))),
    "threshold": (((4,),), lambda x: o.threshold(x, 1, 0)),
    "tile": (((4,),), lambda x: o.tile(x, 2)),
    "top_k": (((4,),), lambda x: o.top_k(x, 2)),
    "unfold": (((1, 1, 3, 3),), lambda x: o.unfold(x, 2)),
    "vander": (((4,),), o.vander),
    "view": (((4,),), o.view),
    "vsplit": (((4, 1),), lambda x: o.vsplit(x, 2)),
    "vstack": (((4,), (4,)), lambda x, y: o.vstack([x, y])),
    "where": (((4,), (4,)), lambda x, y: o.where(np.array([True, False, True, False]), x, y)),
    "categorical_crossentropy": (((2, 3), (2, 3)), o.categorical_crossentropy),
    "binary_crossentropy": (((2, 3), (2, 3)), o.binary_crossentropy),
    "sparse_categorical_crossentropy": (
        ((2, 3),), lambda x: o.sparse_categorical_crossentropy(np.array([0, 1]), x)),
    "image.resize": (((1, 4, 4, 1),), lambda x: o.image.resize(x, (2, 2))),
    "image.rgb_to_grayscale": (((1, 4, 4, 3),), o.image.rgb_to_grayscale),
    "image.pad_images": (((1, 4, 4, 1),), lambda x: o.image.pad_images(x, 1, 1, target_height=6, target_width=6)),
    "image.crop_images": (((1, 4, 4, 1),), lambda x: o.image.crop_images(x, 1, 1, target_height=2, target_width=2)),
    "image.extract_patches": (((1, 4, 4, 1),), lambda x: o.image.extract_patches(x, 2)),
    "image.map_coordinates": (((4,),), lambda x: o.image.map_coordinates(x, np.array([[0.0, 1.5]], "float32"), 1)),
    "image.gaussian_blur": (((1, 4, 4, 1),), o.image.gaussian_blur),
    "image.sobel_edges": (((1, 4, 4, 1),), o.image.sobel_edges),
}
for _name in "cholesky cholesky_inverse det inv eigh svd qr lu_factor pinv logdet slogdet matrix_rank".split():
    CALLS[_name] = (((2, 2),), getattr(o, _name))
for _name in "solve solve_triangular lstsq".split():
    CALLS[_name] = (((2, 2), (2, 2)), getattr(o, _name))


def calls(only: str | None = None) -> Iterator[tuple[str, str, Call, tuple[tuple[int, ...], ...], tuple[str, ...]]]:
    """A name (of all, or that one), what it is called with, the call, and shapes and dtypes of its operands."""
    for name, (shapes, call) in CALLS.items():
        if only not in (None, name):
            continue
        if len(shapes) == 1:
            for dtype in DTYPES:
                yield name, dtype, call, shapes, (dtype,)
        else:
            for a in PAIRED:
                for b in PAIRED:
                    yield name, f"{a} {b}", call, shapes, (a, *(b,) * (len(shapes) - 1))
    for name in SCALARS:
        function = getattr(o, name)
        for dtype in DTYPES if only in (None, name) else ():
            for scalar in (True, 2, 2.0):
                yield name, f"{dtype} {scalar!r}", lambda x, f=function, s=scalar: f(x, s), ((2,),), (dtype,)
                yield name, f"{scalar!r} {dtype}", lambda x, f=function, s=scalar: f(s, x), ((2,),), (dtype,)


def operand(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Ones; a square matrix is the identity, which the functions of linear algebra take."""
    whole = np.eye(shape[0]) if shape == (2, 2) else np.ones(shape)
    return whole.astype(np.dtype(dtype) if dtype != "bfloat16" else __import__("ml_dtypes").bfloat16)


def dtypes_of(result: Any) -> list[str]:
    """The names of the dtypes in a result."""
    return [keras.backend.standardize_dtype(x.dtype) for x in tree.flatten(result)]


def attempt(call: Call, operands: list[Any]) -> list[str] | str:
    """The dtypes of what the call gives, or the name of the error that it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return dtypes_of(call(*operands))
        except Exception as error:  # noqa: BLE001 - whichever: the table is compared with what another backend does
            return f"{type(error).__name__}: {error}"


def main() -> None:
    found = {}
    for name, what, call, shapes, dtypes in calls():
        arrays = [operand(s, d) for s, d in zip(shapes, dtypes)]
        found[f"{name}({what})"] = [
            attempt(call, [keras.KerasTensor(s, d) for s, d in zip(shapes, dtypes)]),
            attempt(call, [o.convert_to_tensor(a, d) for a, d in zip(arrays, dtypes)])]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
