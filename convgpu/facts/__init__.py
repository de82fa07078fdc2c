"""What is known of the ops that backends run, one file per family, found through the registry: `op.facts`.

A family's file in convgpu/ops declares its ops; the file of the same name here says what else is known of them: what
they return, FLOPs and bytes, plans, methods, the cases and the bound that they are tested with, and what part of a
large call is compared. `explain`, `convgpu verify`, the benchmarks, the recorder and the tests ask for nothing else.
This package is imported by those who ask, since the tables of cases come with it.
"""

from __future__ import annotations

from typing import Any

from ..op import Op
from ..recorder import Call
from ..roofline import Gpu, Work
from . import conv, gemm, layout, pool
from .facts import Facts, Family

__all__ = ["FAMILIES", "Facts", "Family", "facts_of", "method_of", "plan_of", "text_of", "tiled_products", "work_of"]

FAMILIES: dict[str, Family] = {"conv": conv.FAMILY, "pool": pool.FAMILY, "gemm": gemm.FAMILY, "layout": layout.FAMILY}


def facts_of(op: str) -> Facts:
    """What is known of an op that backends run."""
    return Op.registry[op].facts


def work_of(call: Call, precision: str = "float32") -> Work:
    """FLOPs and least bytes of a call."""
    return facts_of(call.op).work(call, precision)


def plan_of(native: Any, call: Call, gpu: Gpu | None = None, precision: str = "float32") -> Any:
    """The plan of a native backend for a call; gpu None: the one in use."""
    return facts_of(call.op).plan(native, call, gpu, precision)


def text_of(plan: Any) -> str:
    """A plan in words: "kernel key=value ..."."""
    return plan.text


def method_of(call: Call) -> str:
    """How the numpy backend computes a call, in words."""
    return facts_of(call.op).method(call)


def tiled_products(call: Call, tile: int = 64) -> int:
    """Multiply-adds of a product, or convolution as one, in square tiles that reach beyond its edges; 0 of others."""
    product = facts_of(call.op).product(call)
    if product is None:
        return 0
    items, m, n, k = product
    return items * (-(-m // tile) * tile) * (-(-n // tile) * tile) * k
