"""What a backend would do for one call, by its sizes alone: the kernel's plan, the FLOPs, the least bytes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .geometry import ConvGeometry, PoolGeometry
from .roofline import Gpu, Work, conv_work, gemm_work, layout_work, pool_work, sum_work
from .settings import workspace_limit

LAYOUTS = ("nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "hwio_to_oihw")


class Call(NamedTuple):
    """One call of a backend's function: its name, the shapes of its arrays, what follows them, the dtype."""

    op: str
    shapes: tuple[tuple[int, ...] | None, ...]
    statics: tuple[Any, ...]
    dtype: str


def plan_of(native: Any, call: Call, gpu: Gpu | None = None, precision: str = "float32") -> str:
    """The plan of a native backend for a call: "kernel key=value ..."; gpu None: the one in use."""
    module, (op, shapes, statics, dtype) = native.module, call
    if op in LAYOUTS:
        return module.plan_layout(op, list(shapes[0] or ()), dtype).text
    geo = statics[0] if statics else None
    if isinstance(geo, PoolGeometry):
        return module.plan_pool(op, native.geometry(geo), dtype).text
    device = module.current_device() if gpu is None else module.Device(
        arch=gpu.arch, multiprocessors=gpu.multiprocessors, shared_bytes=gpu.shared_bytes)
    if isinstance(geo, ConvGeometry):
        return module.plan_conv(op, native.geometry(geo), dtype, precision=precision, device=device,
                                limit=workspace_limit()).text
    if op == "channel_sum":
        return module.plan_channel_sum(list(shapes[0] or ()), statics[0], dtype, device=device,
                                       limit=workspace_limit()).text
    items, m, n, k = product_sizes(call)
    trans_a, trans_b = statics[2:4] if op == "gemm" else (False, False)
    one_a, one_b = (math.prod(shape[:-2]) == 1 for shape in shapes[:2] if shape is not None)
    return module.plan_gemm(items, m, n, k, dtype, trans_a=trans_a, trans_b=trans_b, precision=precision, device=device,
                            limit=workspace_limit(), one_a=one_a, one_b=one_b).text


def work_of(call: Call, precision: str = "float32") -> Work:
    """FLOPs and least bytes of a call."""
    op, shapes, statics, dtype = call
    if op in LAYOUTS:
        return layout_work(shapes[0] or (), dtype)
    if op == "channel_sum":
        return sum_work(shapes[0] or (), statics[0], dtype)
    if op in ("gemm", "matmul"):
        items, m, n, k = product_sizes(call)
        c = math.prod(shapes[2]) if op == "gemm" and shapes[2] is not None and statics[1] != 0 else 0
        return gemm_work(m, n, k, dtype, items, c, precision)
    if isinstance(statics[0], PoolGeometry):
        return pool_work(op, statics[0], dtype, with_offsets=statics[1] if op == "max_pool" else True)
    return conv_work(op, statics[0], dtype, precision)


def product_sizes(call: Call) -> tuple[int, int, int, int]:
    """(items, M, N, K) of a gemm or matmul."""
    a, b = call.shapes[:2]
    assert a is not None and b is not None
    trans_a, trans_b = call.statics[2:4] if call.op == "gemm" else (False, False)
    m, k = a[:-3:-1] if trans_a else a[-2:]
    n = b[-2] if trans_b else b[-1]
    if call.op == "matmul" and math.prod(b[:-2]) == 1:  # the same matrix for every item: one product
        return 1, math.prod(a[:-1]), n, k
    return math.prod(np.broadcast_shapes(a[:-2], b[:-2])), m, n, k


def tiled_products(call: Call, tile: int = 64) -> int:
    """Multiply-adds of a product, or convolution as one, in square tiles that reach beyond its edges; 0 of others."""
    if call.op in ("gemm", "matmul"):
        items, m, n, k = product_sizes(call)
        return items * _up(m, tile) * _up(n, tile) * k
    geo = call.statics[0] if call.statics else None
    if not isinstance(geo, ConvGeometry):
        return 0
    taps, pixels = math.prod(geo.kernel), geo.batch * math.prod(geo.output)
    c, k = geo.channels // geo.groups, geo.filters // geo.groups
    m, n, sums = {"conv_fprop": (pixels, k, taps * c), "conv_wgrad": (taps * c, k, pixels),
                  "conv_dgrad": (geo.batch * math.prod(geo.size), c, taps * k)}[call.op]
    return geo.groups * _up(m, tile) * _up(n, tile) * sums


def _up(n: int, step: int) -> int:
    return -(-n // step) * step
