"""draft"""
from __future__ import annotations

from typing import Any

from .geometry import PoolGeometry


def plan_of(native: Any, op: str, shapes: tuple[Any, ...], statics: tuple[Any, ...], dtype: str, gpu: Any = None) -> str:
    if statics and isinstance(statics[0], PoolGeometry):
        return native.module.plan_pool(op, native.geometry(statics[0]), dtype)
    return native.module.plan_layout(op, list(shapes[0]), dtype)
