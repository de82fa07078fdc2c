"""What stands beside an optimizer's step: averages of parameters, gradients of parts, and norms of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import numpy as cnp
from .. import tree
from ..autograd import no_grad
from ..capturing import region
from ..creation import zeros_like
from ..dtypes import accumulator, is_float
from ..ops import optim as ops
from ..tensor import Tensor, as_tensor, wrap
from .optimizers import norm_of, scalar_beside


class EMA:
    """The exponential moving average of parameters, which often generalises better than the last ones.

    average <- decay * average + (1 - decay) * params;  the first parameters are the first average

    Args:
        decay: the share of the average that is kept at each step, 0 to 1.

    Averages are in float32 for half types. On a GPU one launch updates all parameters of one dtype.

    >>> import convgpu as cg
    >>> average = EMA(decay=0.75)
    >>> average.update({"w": cg.tensor([1.0])}), average.update({"w": cg.tensor([3.0])})
    ({'w': Tensor([1.], dtype=float32)}, {'w': Tensor([1.5], dtype=float32)})
    """

    def __init__(self, decay: float = 0.999):
        if isinstance(decay, bool) or not isinstance(decay, (int, float)):
            raise TypeError(f"EMA: expected decay to be a number, got {decay!r:.60}")
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: expected decay in [0, 1], got {decay}")
        self.decay = float(decay)
        self._average: Any = None

    @property
    def params(self) -> Any:
        """The average, in the structure of the parameters.

        Raises:
            RuntimeError: before the first `update`.
        """
        if self._average is None:
            raise RuntimeError("EMA.params: expected a call of update before, got none")
        return self._average

    def update(self, params: Any) -> Any:
        """Take parameters into the average, and return it. A call that raises an error changes nothing.

        Raises:
            ValueError: the structure or a shape differs from that of earlier parameters. TypeError: a parameter is not
            floating.
        """
        region.note(self, "_average")
        tensors = tree.map(lambda p: _wide("EMA.update", p), params)
        if self._average is None:
            self._average = tensors
        else:  # a - rate * (p - a), with a rate of decay - 1
            self._average = _moved("EMA.update", self._average, tensors, self.decay - 1, -1.0)
        return self._average

    def state_dict(self) -> dict[str, Any]:
        """The average, for `convgpu.save`; empty before the first update."""
        return {} if self._average is None else {"average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: other keys.
        """
        if state.keys() - {"average"}:
            raise ValueError(f"EMA.load_state_dict: expected the key 'average' alone, got {sorted(state)}")
        self._average = state.get("average")


def global_norm(grads: Any) -> Tensor:
    """The Euclidean norm of all elements of a tree of tensors, a scalar of float64.

    norm = sqrt(sum of g^2 over all elements of all tensors)

    >>> import convgpu as cg
    >>> global_norm({"w": cg.tensor([3.0]), "b": [cg.tensor([4.0])]}).item()
    5.0
    """
    arrays = [as_tensor(g, "global_norm").detach().array for g in tree.leaves(grads)]
    if not arrays:
        raise ValueError("global_norm: expected at least one tensor, got none")
    return wrap(norm_of(arrays, "global_norm"))


def clip_by_norm(grads: Any, max_norm: float) -> Any:
    """Gradients that are scaled down where the norm of all of them is above `max_norm`.

    g <- g * min(max_norm / (norm + 1e-6), 1), as PyTorch's `clip_grad_norm_`. An optimizer with `clip_norm` does this
    in its own launch.

    >>> import convgpu as cg
    >>> clip_by_norm([cg.tensor([3.0, 4.0])], 1.0)
    [Tensor([0.6, 0.8], dtype=float32)]
    """
    if not 0 <= max_norm < math.inf:
        raise ValueError(f"clip_by_norm: expected max_norm >= 0, got {max_norm}")
    with no_grad():
        factor = cnp.minimum(max_norm / (global_norm(grads) + 1e-6), 1.0)
        return tree.map(lambda g: g * factor.astype(g.dtype), grads)


def clip_by_value(grads: Any, limit: float) -> Any:
    """Gradients whose elements are kept in [-limit, limit].

    >>> import convgpu as cg
    >>> clip_by_value([cg.tensor([3.0, -0.5])], 1.0)
    [Tensor([ 1. , -0.5], dtype=float32)]
    """
    if not limit >= 0:
        raise ValueError(f"clip_by_value: expected limit >= 0, got {limit}")
    with no_grad():
        return tree.map(lambda g: cnp.clip(g, -limit, limit), grads)


def accumulate(step: Callable[..., tuple[Any, Any]], parts: int) -> Callable[..., tuple[Any, Any]]:
    """A function that takes a batch in parts, so that less memory is needed, and adds up the gradients.

    Args:
        step: a function of parameters and arrays with an axis of examples, such as `value_and_grad(loss_of)`, whose
            loss is a mean over the examples. It returns a loss, or a tuple that begins with one, and gradients.
        parts: in how many parts of almost equal size the examples are taken.

    Returns:
        A function of the same arguments: the losses and gradients of the parts, weighted by their sizes. So they are
        those of the whole batch, unless the examples influence each other, as in batch normalisation. What comes beside
        a loss is a list of what came in each part.

    Raises:
        ValueError: the arrays have different numbers of examples, or fewer than parts.

    >>> import convgpu as cg
    >>> step = cg.value_and_grad(lambda w, x: ((w * x) ** 2).mean())
    >>> w, x = cg.tensor(2.0), cg.tensor([1.0, 2.0, 3.0, 4.0])
    >>> accumulate(step, 2)(w, x), step(w, x)
    ((Tensor(30., dtype=float32), Tensor(30., dtype=float32)), (Tensor(30., dtype=float32), Tensor(30., dtype=float32)))
    """
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise ValueError(f"accumulate: expected a number of parts of at least 1, got {parts!r:.60}")

    def run(params: Any, *arrays: Any) -> tuple[Any, Any]:
        sizes = {len(array) for array in arrays}
        if len(sizes) != 1 or min(sizes) < parts:
            raise ValueError(f"accumulate: expected arrays of one number of examples, at least {parts}, got "
                             f"{sorted(sizes)}")
        count, = sizes
        edges = [count * i // parts for i in range(parts + 1)]
        total: Any = None
        beside = []
        for first, last in zip(edges, edges[1:]):
            value, grads = step(params, *[array[first:last] for array in arrays])
            loss, rest = (value[0], value[1:]) if isinstance(value, tuple) else (value, ())
            beside.append(rest)
            kinds = tree.map(lambda t: t.dtype, (loss, grads))
            wide = tree.map(lambda t: _wide("accumulate", t), (loss, grads))
            total = tree.map(zeros_like, wide) if total is None else total
            total = _moved("accumulate", total, wide, -(last - first) / count, 0.0)
        loss, grads = tree.map(lambda t, kind: t.astype(kind), total, kinds)
        return ((loss, *[list(column) for column in zip(*beside)]) if beside[0] else loss), grads

    return run


def _wide(caller: str, p: Any) -> Tensor:
    """A constant in the dtype in which averages are kept."""
    tensor = as_tensor(p, caller).detach()
    if not is_float(tensor.dtype):
        raise TypeError(f"{caller}: expected floating tensors, got {tensor.dtype} of shape {tensor.shape}")
    return tensor.astype(accumulator(tensor.dtype))


def _moved(caller: str, old: Any, towards: Any, rate: float, pull: float) -> Any:
    """old - rate * (towards + pull * old) for trees of tensors: the step of SGD, one launch for all of one dtype."""
    pairs: list[tuple[Tensor, Tensor]] = []
    tree.map(lambda a, b: pairs.append((a, b)), old, towards)
    groups: dict[Any, list[int]] = {}
    for i, (a, b) in enumerate(pairs):
        if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
            raise ValueError(f"{caller}: expected {a.dtype} of shape {a.shape} on the {a.device}, as before, got "
                             f"{b.dtype} of shape {b.shape} on the {b.device}")
        groups.setdefault((a.device, a.dtype), []).append(i)
    new: list[Any] = [None] * len(pairs)
    for chosen in groups.values():
        first = pairs[chosen[0]][0].array
        given = ops.Operands([pairs[i][0].array for i in chosen], [pairs[i][1].array for i in chosen], (),
                             scalar_beside(first, rate, np.float64), scalar_beside(first, 0, np.int64))
        for i, array in zip(chosen, ops.step(ops.Sgd(weight_decay=pull), given).params):
            new[i] = wrap(array)
    numbers = iter(new)
    return tree.map(lambda a: next(numbers), old)
