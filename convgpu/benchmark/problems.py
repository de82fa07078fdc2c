"""Makes the problems that are timed: from a network's layers, from sizes, or from a call of a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..cases.networks import ConvLayer, PoolLayer
from ..cases.problem import Problem
from ..geometry import ConvGeometry, PoolGeometry
from ..op import Op
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


def call_problems(name: str, operands: Sequence[Any], options: dict[str, Any], dtype: str = "float32",
                  gradients: bool = False) -> list[Problem]:
    """The calls of a backend that a function makes, each once, as `convgpu.explain` finds them.

    Args:
        name: a function of convgpu, or an op of the backends, of which the facts give an example: it is taken where
            there are no operands.
        operands, options: the function's arguments, with shapes for arrays.
        gradients: also the calls that the function's gradients make.
    """
    from ..explain import calls_of

    if not operands and not options and name in Op.registry and Op.registry[name].forward is None:
        operands = Op.registry[name].facts.example
    layer = " ".join([name, *map(_word, operands), *(f"{key}={_word(value)}" for key, value in options.items())])
    calls = calls_of(name, *operands, dtype=dtype, gradients=gradients, **options)
    found = [call for i, call in enumerate(calls) if call not in calls[:i]]
    numbers = [1 + sum(earlier.op == call.op for earlier in found[:i]) for i, call in enumerate(found)]
    return [Problem(call, layer=layer + f" ({number})" * (number > 1)) for call, number in zip(found, numbers)]


def _word(value: Any) -> str:
    """An argument as the command takes it."""
    return "x".join(map(str, value)) if isinstance(value, tuple) and len(value) > 1 else str(value).replace(" ", "")


def layer_problems(layers: list[Any], directions: tuple[str, ...], dtype: str = "float32",
                   batch: int | None = None, data_format: str = "channels_last") -> list[Problem]:
    """The problems of a network's layers (of cases.networks); pools have no weight gradient.

    Args:
        batch: the batch size of all layers; None: each layer's own batch size in the table.
        data_format: how the images lie; the layers' names say so of channels_first.
    """
    problems: list[Problem] = []
    how = " channels_first" * (data_format == "channels_first")
    for entry in layers:
        layer: ConvLayer | PoolLayer = entry if batch is None else replace(entry, batch=batch)
        for direction in directions:
            if isinstance(layer, ConvLayer):
                problems.append(conv_problem(layer.geometry(data_format), direction, dtype, layer.network,
                                             layer.name + how))
            elif direction != "wgrad":
                problems.append(pool_problem(layer.geometry(data_format), direction, dtype, False, layer.network,
                                             layer.name + how))
    return problems
