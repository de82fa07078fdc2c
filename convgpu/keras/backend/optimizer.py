"""The part of optimizers that comes from the backend: SGD, Adam and AdamW update all variables by one call.

Keras writes an update as a dozen ops per variable. Here the common optimizers run the op of the backends that takes
whole lists of arrays (convgpu/ops/optim.py), by Keras's formulas; on a GPU that is one launch, and the host waits for
nothing. Other optimizers run Keras's ops, and so do variables that are not float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.optimizers import base_optimizer

import convgpu as cg
from convgpu import backends
from convgpu.device import CPU, run_there
from convgpu.ops.optim import Adam, Operands, Results, Rule, Sgd, cast_all
from convgpu.tensor import wrap

from .core import convert_to_tensor

_GROWTH_INTERVAL = 2000  # the steps after which the backends' op doubles the loss scale


class ConvgpuOptimizer(base_optimizer.BaseOptimizer):
    """The mixin of `keras.optimizers.Optimizer`."""

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        with cg.no_grad():
            super()._backend_apply_gradients(grads, trainable_variables)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Shrink the variables that `_backend_update_step` will not shrink itself."""
        with_rule = _rule(self) if self.weight_decay else None
        if isinstance(with_rule, Adam):
            variables = [v for v in variables if not _fits(v, _slots(self, v))]
        super()._apply_weight_decay(variables)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        rule = _rule(self)
        groups: dict[Rule, list[tuple[Any, ...]]] = {}
        for grad, variable in zip(grads, trainable_variables):
            slots = () if rule is None else _slots(self, variable)
            if rule is None or not _fits(variable, slots):
                self.update_step(grad, variable, learning_rate)
                continue
            decays = isinstance(rule, Adam) and self.weight_decay and self._use_weight_decay(variable)
            groups.setdefault(_with_decay(rule, float(self.weight_decay)) if decays else rule, []).append(
                (variable, grad, *slots))
        for each, rows in groups.items():
            _assign(_taken(each, rows, learning_rate, self.iterations), rows)

    def _apply_scaled(self, grads: Any, trainable_variables: Any) -> bool:
        """Whether this LossScaleOptimizer's step was taken here: on a GPU, without waiting to see if all is finite."""
        inner: Any = self.inner_optimizer  # type: ignore[attr-defined]
        variables = list(trainable_variables or self._trainable_variables)
        rule = _rule(inner)
        decays = {bool(inner.weight_decay) and inner._use_weight_decay(v) for v in variables} if inner.built else set()
        if isinstance(rule, Adam) and decays == {True}:
            rule = _with_decay(rule, float(inner.weight_decay))
        elif True in decays:
            return False
        plain = not (inner.clipnorm or inner.clipvalue or inner.global_clipnorm or inner.use_ema
                     or inner.gradient_accumulation_steps)
        if rule is None or not plain or not inner.built or self.dynamic_growth_steps != _GROWTH_INTERVAL:  # type: ignore
            return False
        if not variables or any([v.value.device == CPU or v.constraint is not None or v.overwrite_with_gradient
                                 or not _fits(v, _slots(inner, v)) for v in variables]) or None in grads:
            return False
        with cg.no_grad():
            self._step_scaled(inner, rule, list(grads), variables)
        return True

    def _step_scaled(self, inner: Any, rule: Rule, grads: list[Any], variables: list[Any]) -> None:
        scale: Any = self.dynamic_scale  # type: ignore[attr-defined]
        counter: Any = self.step_counter  # type: ignore[attr-defined]
        unscaled = cast_all([convert_to_tensor(g, "float32") for g in grads], "float32", scale.value.reshape(1))
        norm = _run("global_norm", [g.array for g in unscaled])
        scaling = cg.numpy.stack([scale.value, counter.value.astype("float32")]).array
        rows = [(v, g, *_slots(inner, v)) for v, g in zip(variables, unscaled)]
        scaled = type(rule)(**{**vars(rule), "scaled": True})
        done = _taken(scaled, rows, inner.learning_rate, inner.iterations, norm, scaling)
        _assign(done, rows)
        inner._iterations.assign(wrap(done.steps))
        scale.assign(wrap(done.scaling[0]))  # type: ignore[index]
        counter.assign(wrap(done.scaling[1]))  # type: ignore[index]


def _rule(optimizer: Any) -> Rule | None:
    """The rule of an optimizer of exactly one of three classes; None for others, which may compute something else."""
    from keras.src.optimizers import SGD, Adam as KerasAdam, AdamW  # noqa: I001 - imported late: they use this module

    if in_stateless_scope():
        return None
    if type(optimizer) in (KerasAdam, AdamW) and not optimizer.amsgrad:
        return Adam(beta1=float(optimizer.beta_1), beta2=float(optimizer.beta_2), epsilon=float(optimizer.epsilon),
                    keras=True)
    if type(optimizer) is SGD:
        return Sgd(momentum=float(optimizer.momentum), nesterov=bool(optimizer.nesterov), keras=True)
    return None


def _with_decay(rule: Rule, weight_decay: float) -> Rule:
    return type(rule)(**{**vars(rule), "weight_decay": weight_decay, "decoupled": True})


def _slots(optimizer: Any, variable: Any) -> tuple[Any, ...]:
    """The optimizer's state for a variable."""
    index = optimizer._get_variable_index(variable)
    if hasattr(optimizer, "_velocities"):
        return optimizer._momentums[index], optimizer._velocities[index]
    return (optimizer.momentums[index],) if optimizer.momentum else ()


def _fits(variable: Any, slots: Sequence[Any]) -> bool:
    return all([v.dtype == "float32" for v in (variable, *slots)])


def _taken(rule: Rule, rows: list[tuple[Any, ...]], learning_rate: Any, iterations: Any, norm: Any = None,
           scaling: Any = None) -> Results:
    """One step of all variables: rows of a variable, its gradient, and its state."""
    grads = [convert_to_tensor(row[1], "float32") for row in rows]
    params = [row[0]._value for row in rows]
    slots = tuple([[row[i]._value.array for row in rows] for i in range(2, len(rows[0]))])
    rate = convert_to_tensor(learning_rate, "float32").to(params[0].device)
    steps = convert_to_tensor(iterations).to(params[0].device)
    given = Operands([p.array for p in params], [g.array for g in grads], slots, rate.array, steps.array, norm, scaling)
    return rule.results(_run("adam_step" if isinstance(rule, Adam) else "sgd_step", given.flat(), rule))


def _run(op: str, arrays: list[Any], *statics: Any) -> Any:
    return run_there(op, arrays[0], lambda: backends.run(op, arrays, statics))


def _assign(done: Results, rows: list[tuple[Any, ...]]) -> None:
    for variable, array in zip([row[0] for row in rows], done.params):
        variable._direct_assign(wrap(array))
    for i, arrays in enumerate(done.slots):
        for variable, array in zip([row[2 + i] for row in rows], arrays):
            variable._direct_assign(wrap(array))
