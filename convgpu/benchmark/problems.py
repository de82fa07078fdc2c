"""Makes the problems that are timed, from a network's layers or from the sizes that a command is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..cases.networks import ConvLayer, PoolLayer
from ..cases.problem import Problem
from ..geometry import ConvGeometry, PoolGeometry
from ..recorder import Call


def conv_problem(geo: ConvGeometry, direction: str, dtype: str = "float32", network: str = "",
                 layer: str = "") -> Problem:
    """One direction of a convolution: "fprop", "dgrad" or "wgrad"."""
    x, w, gy = geo.x_shape, geo.w_shape, geo.y_shape
    shapes = {"fprop": (x, w, None), "dgrad": (gy, w, None), "wgrad": (x, gy)}[direction]
    statics = (geo,) if direction == "wgrad" else (geo, None)
    return Problem(Call(f"conv_{direction}", shapes, statics, dtype), network=network, layer=layer)


def pool_problem(geo: PoolGeometry, direction: str, dtype: str = "float32", average: bool = False, network: str = "",
                 layer: str = "") -> Problem:
    """Max or average pooling: "fprop" (for max pooling with offsets, as training needs them) or "dgrad"."""
    op = ("avg" if average else "max") + "_pool" + ("_dgrad" if direction == "dgrad" else "")
    shapes = {"max_pool_dgrad": (geo.y_shape, geo.y_shape), "avg_pool_dgrad": (geo.y_shape,)}.get(op, (geo.x_shape,))
    return Problem(Call(op, shapes, (geo, True) if op == "max_pool" else (geo,), dtype), network=network, layer=layer)


def gemm_problem(m: int, n: int, k: int, trans_a: bool = False, trans_b: bool = False, dtype: str = "float32",
                 network: str = "") -> Problem:
    """y = op(a) @ op(b). The layer's name is the sizes, with a T for each transposed operand."""
    flags = "T" * trans_a + ("N" if trans_b and not trans_a else "") + "T" * trans_b
    layer = f"{m}x{n}x{k}" + (f" {flags:N<2}" if flags else "")
    shapes = ((k, m) if trans_a else (m, k), (n, k) if trans_b else (k, n), None)
    return Problem(Call("gemm", shapes, (1.0, 1.0, trans_a, trans_b, None), dtype), network=network, layer=layer)


def layout_problem(op: str, shape: tuple[int, ...], dtype: str = "float32") -> Problem:
    """A change of layout."""
    return Problem(Call(op, (shape,), (), dtype), layer="x".join(map(str, shape)))


def layer_problems(layers: list[Any], directions: tuple[str, ...], dtype: str = "float32",
                   batch: int | None = None) -> list[Problem]:
    """The problems of a network's layers (of cases.networks); pools have no weight gradient.

    Args:
        batch: the batch size of all layers; None: each layer's own batch size in the table.
    """
    problems: list[Problem] = []
    for entry in layers:
        layer: ConvLayer | PoolLayer = entry if batch is None else replace(entry, batch=batch)
        for direction in directions:
            if isinstance(layer, ConvLayer):
                problems.append(conv_problem(layer.geometry(), direction, dtype, layer.network, layer.name))
            elif direction != "wgrad":
                problems.append(pool_problem(layer.geometry(), direction, dtype, False, layer.network, layer.name))
    return problems
