"""Facts about the ops that backends run, one file per family of ops; the registry finds them as `op.facts`.

A family's file in convgpu/ops declares its ops. The file of the same name here says what else is known of these ops:
the shapes that they return, FLOPs and bytes, plans, the numpy backend's methods, the test cases with their error bound,
and which part of a large call is compared. `explain`, `convgpu verify`, the benchmarks, the recorder and the tests read
these facts and keep no lists of their own. Only these readers import this package, since the tables of cases come with
it.
"""

from __future__ import annotations

from typing import Any

from ..op import Op
from ..recorder import Call
from ..roofline import Gpu, Work
from . import conv, elementwise, gemm, layout, norm, optim, pool, random, reduce, softmax
from .facts import Facts, Family

__all__ = ["FAMILIES", "Facts", "Family", "facts_of", "method_of", "plan_of", "text_of", "tiled_products", "work_of"]

FAMILIES: dict[str, Family] = {
    "conv": conv.FAMILY, "pool": pool.FAMILY, "gemm": gemm.FAMILY, "layout": layout.FAMILY, "optim": optim.FAMILY,
    "elementwise": elementwise.FAMILY, "reduce": reduce.FAMILY, "norm": norm.FAMILY, "softmax": softmax.FAMILY,
    "random": random.FAMILY,
}


def facts_of(op: str) -> Facts:
    """The facts of an op that backends run."""
    return Op.registry[op].facts


def work_of(call: Call, precision: str = "float32") -> Work:
    """The FLOPs of a call and the least bytes that it must move."""
    return facts_of(call.op).work(call, precision)


def plan_of(native: Any, call: Call, gpu: Gpu | None = None, precision: str = "float32") -> Any:
    """The plan that a native backend makes for a call, for a given GPU; without `gpu`, for the GPU in use."""
    return facts_of(call.op).plan(native, call, gpu, precision)


def text_of(plan: Any) -> str:
    """A plan in words: "kernel key=value ..."."""
    return plan.text


def method_of(call: Call) -> str:
    """How the numpy backend computes a call, in words."""
    return facts_of(call.op).method(call)


def tiled_products(call: Call, tile: int = 64) -> int:
    """Multiply-adds of a matrix product (or of a convolution as one) when whole square tiles are computed, even where
    they reach beyond its edges; 0 for other calls.
    """
    product = facts_of(call.op).product(call)
    if product is None:
        return 0
    items, m, n, k = product
    return items * (-(-m // tile) * tile) * (-(-n // tile) * tile) * k
