"""How a graph runs: its steps, the constants among its values, its parameters, and in which layout they are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..autograd import no_grad
from ..dtypes import is_float
from ..tensor import Tensor, tensor
from . import limits
from .fusing import fused
from .image import native_filters, plain
from .node import Node
from .operators import JOINED, OPERATORS, Operator

# Operators whose result has as many elements as their inputs, or that compare its size with the memory there is.
FOLDED = {"Cast", "Constant", "ConstantOfShape", "Expand", "EyeLike", "Flatten", "Identity", "Range", "Reshape",
          "Squeeze", "Tile", "Transpose", "Unsqueeze"}
SMALL = 4096  # elements of inputs up to which other operators are computed when a model is loaded


@dataclass(slots=True)
class Step:
    """One node that runs, and the values that nobody needs after it."""

    operator: Operator
    node: Node
    dropped: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """A graph that is ready to run."""

    steps: list[Step]
    params: dict[str, Tensor]
    constants: dict[str, Tensor]


def plan(nodes: list[Node], initializers: dict[str, np.ndarray], outputs: list[str], inputs: set[str]) -> Plan:
    """The steps of a graph. Floating initializers are parameters, but those that decide about shapes and statistics."""
    uses: dict[str, list[tuple[Node, int]]] = {}
    for node in nodes:
        for i, name in enumerate(node.inputs):
            uses.setdefault(name, []).append((node, i))
    values = {name: tensor(array) for name, array in initializers.items()}
    params = {name: t for name, t in values.items() if is_float(t.dtype) and _is_trained(uses.get(name, ()))}
    constants = {name: t for name, t in values.items() if name not in params}
    nodes = _folded(nodes, constants)
    nodes = fused(nodes, constants, {*outputs}, inputs)
    for kept in (params, constants):
        _lay_out(kept, uses, {*outputs})
    steps = [Step(JOINED.get(node.op) or OPERATORS[node.op], node) for node in nodes]
    _drop(steps, {*outputs, *params, *constants}, inputs)
    needed = {*outputs, *[name for node in nodes for name in node.inputs]}
    return Plan(steps, {k: t for k, t in params.items() if k in needed},
                {k: t for k, t in constants.items() if k in needed})


def _is_trained(uses: Iterable[tuple[Node, int]]) -> bool:
    """Whether some use of a value is no static input of its operator, and no running mean or variance."""
    return any([i not in OPERATORS[node.op].static and not (node.op == "BatchNormalization" and i in (3, 4))
                for node, i in uses])


def _folded(nodes: list[Node], constants: dict[str, Tensor]) -> list[Node]:
    """The nodes without those that can be computed now; their results become constants."""
    left, room = [], limits.memory() // 4
    for node in nodes:
        inputs = [constants.get(name) for name in node.inputs]
        known = all([x is not None or not name for x, name in zip(inputs, node.inputs)])
        small = sum([x.size for x in inputs if x is not None]) <= SMALL
        if not known or node.op == "Dropout" or not (node.op in FOLDED or small and inputs):
            left.append(node)
            continue
        try:
            with no_grad(), limits.at_most(min(limits.FOLDED, room)):
                results = OPERATORS[node.op](node, *inputs)
        except limits.TooLargeError:
            left.append(node)
            continue
        for name, y in zip(node.outputs, results if isinstance(results, tuple) else (results,)):
            constants[name] = plain(y)
            room -= constants[name].nbytes
    return left


def _lay_out(values: dict[str, Tensor], uses: dict[str, list[tuple[Node, int]]], outputs: set[str]) -> None:
    """Turn filters that only convolutions read into the native layout."""
    for name, value in values.items():
        readers = uses.get(name, [])
        if (readers and value.ndim > 2 and name not in outputs
                and all([node.op in ("Conv", "ConvNorm", "ConvTranspose") and i == 1 for node, i in readers])):
            values[name] = tensor(native_filters(value).numpy())
            for node, _ in readers:
                node.native_filters = True


def _drop(steps: list[Step], kept: set[str], inputs: set[str]) -> None:
    """Let each step name the values that it is the last to read, or that nobody reads."""
    seen = set(kept)
    for step in reversed(steps):
        names = dict.fromkeys([n for n in (*step.node.inputs, *step.node.outputs) if n and n not in seen])
        step.dropped = tuple(names)
        seen.update(names)


def nested(params: dict[str, Tensor]) -> tuple[dict[str, object], dict[str, tuple[str, ...]]]:
    """Parameters as nested dicts, cut at the dots and slashes of their names, and the path to each.

    A name that would be in the way of another one is kept whole.
    """
    paths = {name: tuple(part for part in name.replace("/", ".").split(".")) for name in params}
    inner = {path[:i] for path in paths.values() for i in range(1, len(path))}
    count = Counter(paths.values())
    for name, path in paths.items():
        if "" in path or path in inner or count[path] > 1:
            paths[name] = (name,)
    tree: dict[str, object] = {}
    for name, path in paths.items():
        level: dict[str, object] = tree
        for part in path[:-1]:
            level = level.setdefault(part, {})  # type: ignore[assignment]
        level[path[-1]] = params[name]
    return tree, paths


