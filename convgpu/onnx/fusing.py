"""Nodes that are computed together: activations with convolutions, factors with normalisations, channel shuffles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..tensor import Tensor
from .node import Node

ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}


class _Graph:
    """The nodes that are left, with who makes and who reads each value."""

    def __init__(self, nodes: list[Node], outputs: set[str], inputs: set[str]):
        self.slots: list[Node | None] = list(nodes)  # None in the places of those that are gone
        self.places = {id(node): i for i, node in enumerate(nodes)}
        self.outputs = outputs
        self.moving = set(inputs)  # values that follow from the inputs, and not from parameters and constants alone
        for node in nodes:
            if self.moving & {*node.inputs}:
                self.moving.update(node.outputs)
        self.count = Counter([name for node in nodes for name in node.inputs])
        self.readers = {name: node for node in nodes for name in node.inputs}

    @property
    def nodes(self) -> list[Node]:
        """Those that are left."""
        return [node for node in self.slots if node is not None]

    def only_reader(self, node: Node, *ops: str) -> Node | None:
        """The one node that reads what a node makes, if it is one of these operators."""
        name = node.outputs[0]
        reader = self.readers.get(name)
        if self.count[name] != 1 or name in self.outputs or len([o for o in node.outputs if o]) != 1:
            return None
        return reader if reader is not None and reader.op in ops and id(reader) in self.places else None

    def join(self, node: Node, last: Node, *gone: Node) -> None:
        """Let a node make what the last one makes, and leave out the others."""
        node.outputs = last.outputs
        for other in (last, *gone):
            self.slots[self.places.pop(id(other))] = None

    def move_up(self, node: Node, last: Node) -> None:
        """As `join`, in the place of the last one, since it has inputs that are made between the two."""
        place = self.places.pop(id(last))
        self.slots[self.places[id(node)]], self.slots[place] = None, node
        self.places[id(node)] = place
        node.outputs = last.outputs


def fused(nodes: list[Node], constants: dict[str, Tensor], outputs: set[str], inputs: set[str]) -> list[Node]:
    """The nodes, of which some are computed together with the one before them."""
    graph = _Graph(nodes, outputs, inputs)
    for node in nodes:
        if node.op in ("Conv", "ConvTranspose") or node.op == "Gemm" and not any(node.inputs[2:]):
            reader = graph.only_reader(node, *ACTIVATIONS)
            if reader is not None:
                node.activation = ACTIVATIONS[reader.op]
                graph.join(node, reader)
        elif node.op == "BatchNormalization":
            _with_factors(graph, node)
        elif node.op == "Reshape":
            _as_shuffle(graph, node, constants)
    for node in graph.nodes:
        if node.op == "Conv" and node.activation is None:
            _with_norm(graph, node)
    return graph.nodes


def _with_norm(graph: _Graph, node: Node) -> None:
    """Let a convolution compute the normalisation that follows, and the activation after that.

    One that is followed by an addition is left: the addition of a shortcut is computed together with it (deferred.py).
    """
    norm = graph.only_reader(node, "BatchNormalization")
    if norm is None or norm.inputs[0] != node.outputs[0] or norm.get("training_mode", 0) or norm.opset < 7 or (
            graph.only_reader(norm, "Add", "Sum")):
        return
    reader = graph.only_reader(norm, *ACTIVATIONS)
    node.op, node.norm = "ConvNorm", norm
    node.inputs = [*node.inputs, *[""] * (3 - len(node.inputs)), *norm.inputs[1:]]
    graph.move_up(node, norm)
    if reader is not None:
        node.activation = ACTIVATIONS[reader.op]
        graph.join(node, reader)


def _with_factors(graph: _Graph, node: Node) -> None:
    """Give a normalisation the factor, and then the summand, that follow it; most often they are those of channels."""
    if len(node.inputs) != 5 or len(node.outputs) != 1 or node.get("training_mode", 0):
        return
    for op in ("Mul", "Add"):
        reader = graph.only_reader(node, op)
        other = None if reader is None else next(name for name in reader.inputs if name != node.outputs[0])
        if reader is None or other is None or other in graph.moving:
            node.inputs.append("")
        else:
            node.inputs.append(other)
            graph.move_up(node, reader)


def _as_shuffle(graph: _Graph, node: Node, constants: dict[str, Tensor]) -> None:
    """See a Reshape, a Transpose and a Reshape that shuffle channels as one node, which keeps the native layout."""
    turned = graph.only_reader(node, "Transpose")
    back = None if turned is None else graph.only_reader(turned, "Reshape")
    if turned is None or back is None or turned.get("perm") != [0, 2, 1, 3, 4]:
        return
    shapes = [_shape(n, constants) for n in (node, back)]
    if len(shapes[0]) != 5 or len(shapes[1]) != 4 or min(shapes[0][1:3]) < 1 or not node.inputs[0]:
        return
    groups, each = shapes[0][1:3]
    if shapes[1][1] not in (groups * each, -1):
        return
    node.op, node.inputs = "ChannelShuffle", node.inputs[:1]
    node.attributes = {"first": shapes[0], "last": shapes[1], "groups": groups}
    graph.join(node, back, turned)


def _shape(node: Node, constants: dict[str, Tensor]) -> list[int]:
    """The shape that a Reshape asks for, as far as it is known; an empty list where it is not."""
    given: Any = node.get("shape") if len(node.inputs) < 2 else constants.get(node.inputs[1])
    return [] if given is None or node.get("allowzero", 0) else [int(n) for n in np.asarray(given).reshape(-1)]
