"""What a run through the graph of a Functional model keeps: a tensor until its last consumer has run.

Keras keeps every tensor until the run ends. Then what the backward pass computes again would still take memory when
the forward pass ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


class Uses:
    """How often each symbolic tensor of a graph is still to be read: by its nodes, and as a result of the run.

    They are counted for each run, because tensors are known by `id`, and a copied graph has tensors of its own.
    """

    def __init__(self, nodes_by_depth: Mapping[int, Sequence[Any]], inputs: Sequence[Any], outputs: Sequence[Any]):
        self._left = Counter(id(x) for x in (*inputs, *outputs))  # the caller keeps the inputs anyway
        self._left.update(id(x) for nodes in nodes_by_depth.values() for node in nodes for x in node.input_tensors)

    def drop_after(self, node: Any, tensors: dict[int, Any]) -> None:
        """Take out of `tensors` what nobody reads after this node, which has just run."""
        for x in node.input_tensors:
            self._left[id(x)] -= 1
        for x in (*node.input_tensors, *node.outputs):
            if not self._left[id(x)]:
                tensors.pop(id(x), None)
