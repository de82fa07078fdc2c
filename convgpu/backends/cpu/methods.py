"""How the kernels of csrc/cpu compute a call, in words: what `explain` says where backend "cpu" is in use."""

from __future__ import annotations

import importlib
import math

from ...dtypes import as_dtype, is_float
from ...geometry import ConvGeometry
from ...op import Op
from ...recorder import Call
from . import BY_NUMPY

MOVES = ("max_pool_indices", "nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "hwio_to_oihw",
         "integers")  # these take dtypes without fractions
FEW_CHANNELS = 16  # kFewChannels of csrc/cpu/kernels/convolve.cpp and conv_wgrad.cpp
MOST_LANES = 1024  # kMostLanes of conv_wgrad.cpp
# float32 elements of a vector of an instruction set; 4 in the others
LANES = {"amx": 16, "v4_bf16": 16, "v4": 16, "v3": 8}

PAIRS = {"amx": "tiles of AMX", "v4_bf16": "pairs of terms by vdpbf16ps"}  # how bfloat16 is multiplied

_OTHERS = {
    "channel_sum": "sums of vectors, in segments",
    "activate": "a vector of elements at a time",
    "activate_dgrad": "a vector of elements at a time",
    "add_n": "a vector of elements at a time",
    "binary": "a vector of elements at a time",
    "sgd_step": "all arrays in one call, in parts of 32,768 elements",
    "adam_step": "all arrays in one call, in parts of 32,768 elements",
    "global_norm": "sums of squares in float64, in parts of 32,768 elements",
    "cast_all": "all arrays in one call, in parts of 32,768 elements",
    "dropout": "Philox in vectors of integers, 32,768 elements at once",
    "uniform": "Philox in vectors of integers, 32,768 elements at once",
    "normal": "Philox in vectors of integers, then Box and Muller, 32,768 elements at once",
    "integers": "Philox in vectors of integers, 32,768 elements at once",
    "gemm": "products of packed panels, sums in blocks of 128",
    "matmul": "products of packed panels, sums in blocks of 128",
    "max_pool": "windows, a vector of channels at a time",
    "max_pool_dgrad": "gathers, each pixel from the windows that it has won",
    "max_pool_gather": "winners, one by one",
    "max_pool_indices": "winners, one by one",
    "avg_pool": "windows, a vector of channels at a time",
    "avg_pool_dgrad": "gathers, each pixel from the windows that hold it",
    "lp_pool": "windows, a vector of channels at a time",
    "lp_pool_dgrad": "gathers, each pixel from the windows that hold it, element by element",
    "lp_pool_gather": "windows, element by element",
    "norm_stats": "blocks, whose sums are taken about their means",
    "norm_apply": "one pass",
    "norm_apply_add": "one pass",
    "norm_infer": "one pass",
    "norm_dgrad": "sums in segments, then one pass",
    "softmax": "lines of classes, read from memory once",
    "softmax_dgrad": "lines of classes, read from memory once",
    "cross_entropy": "lines of classes, read from memory once",
    "cross_entropy_dgrad": "one pass",
    "reduce": "blocks of vectors, in segments",
    "nchw_to_nhwc": "one transposed copy",
    "nhwc_to_nchw": "one transposed copy",
    "oihw_to_hwio": "two transposed copies",
    "hwio_to_oihw": "two transposed copies",
}


def method_of(call: Call) -> str:
    """The method where no Inf or NaN meets padding."""
    by_numpy = call.op in BY_NUMPY or not (call.op in MOVES or is_float(as_dtype(call.dtype)))
    if call.op in ("conv_fprop", "conv_dgrad", "conv_wgrad"):
        return _convolution(call.op, call.statics[0], call.dtype)
    if call.op == "conv_norm":
        return f"{_convolution('conv_fprop', call.statics[0], call.dtype)}, then NumPy's scale and shift"
    if call.op in ("gemm", "matmul") and _pairs(call.dtype):
        return f"{_pairs(call.dtype)}, sums in blocks of 512"
    if not by_numpy and call.op in ("max_pool", "avg_pool") and not call.statics[0].channels_last:
        return "windows, a vector of a row's pixels at a time"
    return f"numpy: {Op.registry[call.op].facts.method(call)}" if by_numpy else _OTHERS[call.op]


def _pairs(dtype: str) -> str | None:
    return PAIRS.get(importlib.import_module("convgpu._cpu").instruction_set()) if dtype == "bfloat16" else None


def _convolution(op: str, geo: ConvGeometry, dtype: str) -> str:
    if 0 in geo.x_shape or 0 in geo.w_shape or 0 in geo.y_shape:
        return "no sums to take"
    phases = ", phase by phase of the stride" if op == "conv_dgrad" and set(geo.stride) != {1} else ""
    if geo.groups == geo.channels == geo.filters > 1:
        lie = "channels" if geo.channels_last else "a row's pixels"
        return f"depthwise, a vector of {lie} at a time{phases}"
    if _pairs(dtype) and (geo.groups == 1 or min(geo.channels, geo.filters) >= 4 * geo.groups):
        return f"{_pairs(dtype)}, windows copied into rows block by block{phases}"
    reads = (geo.filters if op == "conv_dgrad" else geo.channels) // geo.groups
    taps = math.prod(geo.kernel)
    if op == "conv_dgrad" and _scatters(geo):
        return "products of packed panels for all taps, scattered to the windows"
    if op == "conv_wgrad":
        lanes = reads < FEW_CHANNELS and 1 < taps and taps * reads <= MOST_LANES
        return f"products of packed panels, {'all taps and channels at once' if lanes else 'runs of pixels per tap'}"
    run = geo.kernel[-1] > 1 and reads < FEW_CHANNELS and geo.dilation[-1] == 1 and not phases
    rows = "each row of taps one run" if run else "rows by pointers into the image"
    return f"products of packed panels, {rows}{phases}"


def _scatters(geo: ConvGeometry) -> bool:
    """What `suits` of csrc/cpu/kernels/scatter.cpp asks of float32 filters that fit its memory."""
    lanes = LANES.get(importlib.import_module("convgpu._cpu").instruction_set(), 4)
    makes, reads = geo.channels // geo.groups, geo.filters // geo.groups
    return (1 < math.prod(geo.kernel) <= 128 and geo.dilation[-1] == 1 and reads >= (4 if geo.groups == 1 else 16)
            and makes < 2 * lanes and 4 * makes < 3 * lanes * math.ceil(makes / lanes))
