"""Gradients of each sample's loss by itself, from one forward and one backward pass over the whole batch.

Samples lie one after the other along the first axis of what depends on them, and no op may mix them. Then the gradients
of intermediate results are those of the samples already, and only where parameters enter is there something to do: in
the place of the sum over the batch, each sample's own sum (`_OWN`). A convolution's is one weight gradient with the
samples as groups; a product's is a stack of products. What would mix samples is refused (`_APART`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from . import autograd, gradients, tree
from .arguments import function
from .convert import contains
from .op import Op
from .ops import activation, elementwise, gaussian, loss, norm, special
from .ops.conv import wgrad
from .ops.gemm import matmul
from .ops.indexing import _put as put
from .ops.shape import broadcast_to, flip, moveaxis, reshape, swapaxes, transpose
from .tensor import Tensor, as_tensor, wrap


def per_sample_grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of each sample's loss, without a loop over the samples.

    g[n] = gradient of losses[n] with respect to the parameters,  losses = f(parameters, *batch)

    Args:
        f: takes parameters and a batch, and returns one loss per sample, (N,): with reduction="none", for instance.
            The samples lie along the first axis of all arrays among the other positional arguments.
        argnums: which positional argument holds the parameters (a Tensor, or nested dicts, lists and tuples of them);
            for several, the gradient is a tuple.

    Returns:
        The structure of the parameters; each leaf has an axis of N samples before its own. They are constants.

    Raises:
        NotImplementedError: an op that mixes samples, such as batch norm in training, or that has no rule for a
            parameter; the error names it. ValueError: losses of another shape, batches of several sizes.

    >>> import convgpu as cg
    >>> def losses(w, x, labels):
    ...     return cg.cross_entropy(cg.linear(x, w), labels, reduction="none")
    >>> g = per_sample_grad(losses)(cg.zeros((3, 2)), cg.ones((4, 3)), [0, 1, 1, 0])
    >>> g.shape, g[1, 0].tolist()
    ((4, 3, 2), [0.5, -0.5])
    """
    function("per_sample_grad", f)
    chosen = gradients.numbers(argnums, "per_sample_grad")

    def gradient(*args: Any, **options: Any) -> Any:
        with gradients.differentiated("per_sample_grad", args, chosen) as (given, leaves, _):
            given = [a if i in chosen else _as_data(a) for i, a in enumerate(given)]
            data = [x for i, a in enumerate(given) if i not in chosen for x in tree.leaves(a) if isinstance(x, Tensor)]
            samples = _Samples(data)
            before = autograd.set_watcher(samples.see)
            try:
                losses = f(*given, **options)
            finally:
                autograd.set_watcher(before)
        if not isinstance(losses, Tensor) or losses.shape != (samples.count,):
            got = losses.shape if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(f"per_sample_grad: expected f to return a loss for each of {samples.count} samples, a "
                             f"Tensor of shape ({samples.count},), got {got}")
        found = _walk(losses, samples)
        parts = tree.map(lambda p: found[p].detach() if p in found else _zeros(samples.count, p), leaves)
        return parts if isinstance(argnums, Sequence) else parts[0]

    return gradient


def _as_data(argument: Any) -> Any:
    """An argument with its arrays, and nested lists of numbers, as Tensors."""
    if isinstance(argument, list) and argument and not contains(argument, lambda leaf: type(leaf) not in _NUMBERS):
        return as_tensor(argument, "per_sample_grad")
    return tree.map(lambda v: as_tensor(v, "per_sample_grad") if hasattr(v, "shape") else v, argument)


_NUMBERS = (bool, int, float)


def _zeros(count: int, p: Tensor) -> Tensor:
    return wrap(np.zeros_like(p.array, shape=(count, *p.shape)))


class _Samples:
    """Which arrays depend on the samples: their first axis has `count` times as many rows as each sample has."""

    def __init__(self, data: list[Tensor]):
        sizes = {x.shape[0] if x.ndim else None for x in data}
        if len(sizes) != 1 or None in sizes:
            raise ValueError("per_sample_grad: expected arguments with samples along their first axis, of one number, "
                             f"got {[x.shape for x in data]}")
        self.count: int = sizes.pop()  # type: ignore[assignment]
        self.arrays = {id(x.array): x.array for x in data}  # kept, so that no later array gets their id
        self.apart: dict[int, tuple[bool, ...]] = {}  # by the id of an output: which inputs depend on the samples
        self.kept: list[Any] = []

    def has(self, x: Any) -> bool:
        return isinstance(x, Tensor) and id(x.array) in self.arrays

    def see(self, op: Any, inputs: tuple[Any, ...], outputs: tuple[Any, ...], statics: tuple[Any, ...]) -> None:
        """Follow the samples through an op; raise an error where it would mix them."""
        named = dict(zip(op.statics, statics))
        flags = tuple(map(self.has, inputs))
        looked_up = op.name == "getitem" and any(id(i) in self.arrays for i in named["index"])
        if not any(flags) and not looked_up:
            return
        rule = _APART.get(op.name)
        y = outputs[0]
        if not looked_up and (rule is None or not rule(max(self.count, 1), inputs, flags, named, y)):
            hint = _HINTS.get(op.name, "compute it without mixing samples")
            shapes = [x.shape for x in inputs if isinstance(x, Tensor)]
            raise NotImplementedError(f"per_sample_grad: {op.name} of {shapes} is not known to keep {self.count} "
                                      f"samples apart along the first axis; {hint}")
        for out in outputs:
            if out is not None:
                self.arrays[id(out.array)] = out.array
        self.apart[id(y.array)] = flags
        self.kept.append(y)

    def nodes(self) -> dict[Any, tuple[bool, ...]]:
        """For each recorded op that samples run through: which of its inputs depend on them."""
        return {y.node: self.apart[id(y.array)] for y in self.kept if y.node is not None}


# --- ops that keep samples apart


def _elementwise(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
    for x, flag in zip(inputs, flags):
        whole = isinstance(x, Tensor) and x.ndim == y.ndim and x.shape[:1] == y.shape[:1]
        if flag and not whole or isinstance(x, Tensor) and not flag and x.requires_grad and whole and y.shape[0] > 1:
            return False
    return True


def _along(name: str) -> Callable[..., bool]:
    """Whether an op along an axis, or several, leaves the first one alone; a None stands for all axes."""
    def apart(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
        axes, ndim = named[name], max(x.ndim for x in inputs)
        axes = range(ndim) if axes is None else axes if isinstance(axes, (tuple, list)) else (axes,)
        return all(flags) and 0 not in [a % ndim for a in axes]

    return apart


def _always(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
    return flags[0] and not any(flags[1:3])


def _of_norm(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
    return flags[0] and named["geo"].outer % n == 0 and not any(flags[3:5])


def _of_product(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
    c = inputs[2]
    return flags[0] and not flags[1] and not named["trans_a"] and (c is None or flags[2] or c.ndim < 2 or
                                                                   c.shape[0] == 1)


def _of_stack(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
    return y.ndim > 2 and all(x.ndim == y.ndim and x.shape[0] == y.shape[0] for x, f in zip(inputs, flags) if f)


def _of_index(n: int, inputs: Any, flags: Any, named: Any, y: Tensor) -> bool:
    first = named["index"][0] if named["index"] else slice(None)
    return isinstance(first, slice) and first == slice(None)


_SPECIFIC: dict[str, Callable[..., bool]] = {
    "reshape": lambda n, inputs, flags, named, y: y.ndim > 0 and y.shape[0] % n == 0,
    "transpose": lambda n, inputs, flags, named, y: named["axes"] is not None and named["axes"][0] == 0,
    "getitem": _of_index, "pad": lambda n, inputs, flags, named, y: tuple(named["widths"][0]) == (0, 0),
    "conv_fprop": _always, "conv_dgrad": _always, "gemm": _of_product, "matmul": _of_stack,
    "max_pool": _always, "avg_pool": _always, "lp_pool": _always,
    "norm_stats": _of_norm, "norm_apply": _of_norm, "norm_apply_add": _of_norm,
    "norm_infer": lambda n, inputs, flags, named, y: flags[0] and not any(flags[1:5]),
    "cross_entropy": lambda n, inputs, flags, named, y: all(flags) and named["reduction"] == "none" and
    named["axis"] != 0,
    **{name: _along("axes") for name in ("reduce", "reduce_whole", "logsumexp", "var", "std", "prod", "any", "all")},
    **{name: _along("axis") for name in ("softmax", "concatenate", "flip", "cumsum", "cumprod", "argmax", "argmin",
                                         "argsort", "window_sum")},
}


def _names(*modules: Any) -> set[str]:
    return {op.name for module in modules for op in vars(module).values() if isinstance(op, Op)} - {"nonzero"}


_ELEMENTWISE = {"activate", "add_n", "broadcast_to", "dropout", "binary",
                *_names(elementwise, activation, gaussian, loss, special)} - set(_SPECIFIC)
_APART: dict[str, Callable[..., bool]] = {**dict.fromkeys(_ELEMENTWISE, _elementwise), **_SPECIFIC}
_HINTS = {"norm_stats": "batch norm in training mixes them: use group_norm or layer_norm, or training=False",
          "reduce": "return one loss per sample, for instance with reduction='none'",
          "cross_entropy": "return one loss per sample, with reduction='none'"}

# --- the walk back


def _walk(losses: Tensor, samples: _Samples) -> dict[Any, Tensor]:
    """The gradients of the leaves, each with an axis of samples in front."""
    batched, n = samples.nodes(), samples.count
    sums: dict[Any, Tensor] = {}
    again: Any = {}
    if n == 0 or not losses.requires_grad:
        return {}

    def send(edge: Any, g: Tensor) -> None:
        sums[edge] = sums[edge] + g if edge in sums else g

    with autograd.recording(False):
        send(losses.node or losses, wrap(np.ones_like(losses.array)))
        for node in reversed(gradients.reachable([losses])):
            if node not in sums:
                continue
            g = sums.pop(node)
            flags = batched.get(node)
            own = [e is not None and (flags is None or not f) for e, f in
                   zip(node.edges, flags or (False,) * len(node.edges))]
            shared = [e is not None and not o for e, o in zip(node.edges, own)]
            if any(shared):
                for edge, d in zip(node.edges, gradients._input_gradients(node, g, shared, again, {})):
                    if d is not None:
                        send(edge, d)
            if any(own):
                for edge, meta, d in zip(node.edges, node.metas, _own_gradients(node, g, own, n, flags is None)):
                    if d is not None:
                        send(edge, d if d.dtype == meta[1] else d.astype(meta[1]))
    return {edge: g for edge, g in sums.items() if isinstance(edge, Tensor)}


def _own_gradients(node: Any, g: Tensor, own: list[bool], n: int, only_parameters: bool) -> list[Tensor | None]:
    """For each input that does not depend on the samples: the gradients of all samples, (N, *its shape)."""
    op = node.op
    g, values = gradients.through_epilogue(node, g, own, {})
    if not only_parameters and op.name in _OWN:
        return [_OWN[op.name](name, g, values, node.metas[i][0], n) if wants else None
                for i, (name, wants) in enumerate(zip(op.inputs, own))]
    if only_parameters and op.name in _OF_PARAMETERS:
        return [_OF_PARAMETERS[op.name](g, values, node.metas[0][0], n)]
    if op.name not in _BROADCASTS or op.variadic or op.joint is not None:
        raise NotImplementedError(f"per_sample_grad: {op.name} has no rule for the samples' gradients of its input "
                                  f"{op.inputs[own.index(True)]!r}, of shape {node.metas[own.index(True)][0]}")
    found: list[Tensor | None] = []
    for name, meta, wants in zip(op.inputs, node.metas, own):
        rule = gradients._rule_of(op, name) if wants else None
        found.append(None if rule is None else
                     _fitted(rule.function(g, *[values[v] for v in rule.needs]), meta[0], g.shape, n))
    return found


_BROADCASTS = _names(elementwise)


def _fitted(g: Tensor, shape: tuple[int, ...], full: tuple[int, ...], n: int) -> Tensor:
    """Sum over the axes along which a parameter was broadcast, and over the rows of each sample."""
    g = g if g.shape == full else broadcast_to(g, full)
    g = reshape(g, (n, -1 if g.size else full[0] // n, *g.shape[1:]))  # samples, rows, other axes
    inner = (1,) * (g.ndim - 1 - len(shape)) + shape if len(shape) < g.ndim - 1 else shape
    axes = tuple(1 + i for i, (have, want) in enumerate(zip(g.shape[1:], inner)) if want == 1 and have != 1)
    return reshape(g.sum(axis=axes, keepdims=True) if axes else g, (n, *shape))


def _of_convolution(name: str, g: Tensor, values: dict[str, Any], shape: tuple[int, ...], n: int) -> Tensor:
    geo = values["geo"]
    if name == "bias":
        channel = -1 if geo.channels_last else 1
        return reshape(moveaxis(g, channel, -1), (n, -1, shape[0])).sum(axis=1)
    if name != "w":
        raise NotImplementedError(f"per_sample_grad: a convolution of a parameter ({name!r}) has no rule")
    # of the transposed convolution, x is the result and gy the input
    x, gy = (values["x"], g) if "x" in values else (g, values["gy"])
    rows, last, groups = geo.batch // n, geo.channels_last, geo.groups
    one = replace(geo, batch=rows, channels=n * geo.channels, filters=n * geo.filters, groups=n * groups)

    def side_by_side(t: Tensor, target: tuple[int, ...]) -> Tensor:
        """The samples' images as channels of one image."""
        t = reshape(t, (n, rows, *t.shape[1:]))
        return reshape(moveaxis(t, 0, -2 if last else 1), target)

    gw = wgrad(side_by_side(x, one.x_shape), side_by_side(gy, one.y_shape), one)
    if last:
        return moveaxis(reshape(gw, (*gw.shape[:-1], n, geo.filters)), -2, 0)
    return reshape(gw, (n, geo.filters, *gw.shape[1:]))


def _of_gemm(name: str, g: Tensor, values: dict[str, Any], shape: tuple[int, ...], n: int) -> Tensor:
    g = reshape(g, (n, g.shape[0] // n, g.shape[1]))
    if name == "c":
        summed = g.sum(axis=1) * values.get("beta", 1.0)
        return _fitted(summed, shape, summed.shape, n) if shape[-1:] != g.shape[-1:] else reshape(summed, (n, *shape))
    if name != "b":
        raise NotImplementedError("per_sample_grad: a product whose first factor is a parameter has no rule; write it "
                                  "with the samples' factor first")
    a = values["a"]
    product = matmul(swapaxes(reshape(a, (n, a.shape[0] // n, a.shape[1])), 1, 2), g) * values.get("alpha", 1.0)
    return swapaxes(product, 1, 2) if values.get("trans_b") else product


def _of_stacked(name: str, g: Tensor, values: dict[str, Any], shape: tuple[int, ...], n: int) -> Tensor:
    if name == "a":
        return _fitted(matmul(g, swapaxes(values["b"], -1, -2)), shape, (*g.shape[:-1], shape[-1]), n)
    return _fitted(matmul(swapaxes(values["a"], -1, -2), g), shape, (*g.shape[:-2], *shape[-2:]), n)


def _of_affine(name: str, g: Tensor, values: dict[str, Any], shape: tuple[int, ...], n: int) -> Tensor:
    """The gradients of scale and offset of a normalisation, whose values are not those of others."""
    if name not in ("scale", "offset"):
        raise NotImplementedError(f"per_sample_grad: a normalisation has no rule for its parameter {name!r}")
    geo, channels = values["geo"], shape[0]
    view = (n, -1, 1, 1) if channels == 1 else (n, -1, channels, geo.inner)
    x, g = norm.wide(values["x"]), norm.wide(g)
    given = {key: None if values.get(key) is None else norm.wide(values[key]) for key in ("scale", "offset")}
    if "rstd" in values:
        rstd, zeros = values["rstd"], None
        xn = norm._apply(x, values["mean"], rstd, zeros, zeros, geo, None)
        kind = values.get("activation")
        if values.get("y") is not None:
            g = norm._through(kind, g, norm.wide(values["y"]))
        elif kind is not None:
            g = _through_activation(kind, g, xn, given, view)
    else:
        ones = np.ones_like(values["var"].array)
        xn = norm._infer(x, values["mean"], values["var"], wrap(ones), None, None, geo, None, values["epsilon"]) if (
            name == "scale") else x
    g = reshape(g, view)
    return (g * reshape(xn, view) if name == "scale" else g).sum(axis=(1, 3))


def _through_activation(kind: str, g: Tensor, xn: Tensor, given: dict[str, Any], view: tuple[int, ...]) -> Tensor:
    with autograd.recording(True):
        before = reshape(xn, view)
        for key, along in given.items():
            if along is not None:
                along = reshape(along.detach(), (1, 1, -1, 1))
                before = before * along if key == "scale" else before + along
        before = before.detach().requires_grad_()
        return gradients.grad(norm._activated(kind, before), before, reshape(g, before.shape))


def _of_rows(name: str, g: Tensor, values: dict[str, Any], shape: tuple[int, ...], n: int) -> Tensor:
    """Of an embedding: the samples' tables lie one after the other, and each sample's ids lead to its own."""
    index = values["index"]
    if len(index) != 1 or getattr(index[0], "dtype", np.dtype(bool)).kind not in "iu":
        raise NotImplementedError("per_sample_grad: getitem of a parameter has a rule for one array of ids alone")
    ids = index[0].reshape(n, -1)
    ids = np.where(ids < 0, ids + shape[0], ids) + np.arange(n, like=ids)[:, None] * shape[0]
    rows = reshape(g, (ids.size, *shape[1:]))
    return reshape(put(rows, (ids.reshape(-1),), (n * shape[0], *shape[1:])), (n, *shape))


_OWN: dict[str, Callable[..., Tensor]] = {
    "conv_fprop": _of_convolution, "conv_dgrad": _of_convolution, "gemm": _of_gemm, "matmul": _of_stacked,
    "norm_apply": _of_affine, "norm_apply_add": _of_affine, "norm_infer": _of_affine, "getitem": _of_rows,
    "broadcast_to": lambda name, g, values, shape, n: _fitted(g, shape, g.shape, n),
}
# Of what is computed from parameters alone the gradients come as a stack, one for each sample.
_OF_PARAMETERS: dict[str, Callable[..., Tensor]] = {
    "reshape": lambda g, values, shape, n: reshape(g, (n, *shape)),
    "transpose": lambda g, values, shape, n: transpose(g, (0, *[a + 1 for a in np.argsort(
        values["axes"] if values["axes"] is not None else range(len(shape))[::-1])])),
    "flip": lambda g, values, shape, n: _flipped(g, values["axis"], len(shape)),
    "broadcast_to": lambda g, values, shape, n: _fitted(g, shape, g.shape, n),
}


def _flipped(g: Tensor, axis: Any, ndim: int) -> Tensor:
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return flip(g, tuple(a % ndim + 1 for a in axes))
