"""The part of optimizers that comes from the backend: SGD, Adam and AdamW update all variables by one call.

Keras writes an update as a dozen ops per variable. Here the common optimizers run the op of the backends that takes
whole lists of arrays (convgpu/ops/optim.py), by Keras's formulas; on a GPU that is one launch, and the host waits for
nothing. Other optimizers run Keras's ops, and so do variables that are not float32. The host counts the steps too, by
which it knows when accumulated gradients are applied and when averages overwrite variables. What a LossScaleOptimizer
does with gradients that are not finite is chosen on the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras.src.backend.common.stateless_scope import StatelessScope, in_stateless_scope
from keras.src.optimizers import base_optimizer

import convgpu as cg
from convgpu import backends
from convgpu.capturing import region
from convgpu.device import CPU, run_there
from convgpu.ops.optim import Adam, Operands, Results, Rule, Sgd, cast_all
from convgpu.tensor import wrap

from .core import convert_to_tensor

_GROWTH_INTERVAL = 2000  # the steps after which the backends' op doubles the loss scale


class ConvgpuOptimizer(base_optimizer.BaseOptimizer):
    """The mixin of `keras.optimizers.Optimizer`."""

    _counted: tuple[Any, int] | None = None  # the last value of `iterations` that the host knows

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._note_iterations(0)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the variables, as in Keras."""
        before = self._iterations._value
        super().apply(grads, trainable_variables)
        if self._counted is not None and self._counted[0] is before is not self._iterations._value:
            self._note_iterations(self._counted[1] + 1)

    def _note_iterations(self, count: int) -> None:
        self.__dict__["_counted"] = self._iterations._value, count  # past the tracking of attributes

    def _iterations_on_host(self) -> int:
        """The number of steps so far. Only after somebody else has assigned it, the host waits to read it."""
        if self._counted is None or self._counted[0] is not self._iterations._value:
            self._note_iterations(int(self._iterations._value.item()))
        assert self._counted is not None
        return self._counted[1]

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        with cg.no_grad():
            if in_stateless_scope() or not (self.gradient_accumulation_steps or self.ema_overwrite_frequency):
                super()._backend_apply_gradients(grads, trainable_variables)
            else:
                self._apply_by_count(grads, trainable_variables, self._iterations_on_host() + 1)

    def _apply_by_count(self, grads: Any, trainable_variables: Any, count: int) -> None:
        """Keras's step number `count`, whose choices the host makes."""
        region.refuse("gradient_accumulation_steps or ema_overwrite_frequency, whose choices the host makes,",
                      "leave jit_compile off")
        steps, overwrites = self.gradient_accumulation_steps, self.ema_overwrite_frequency
        kept = [self._accumulated_gradients[self._get_variable_index(v)] for v in trainable_variables] if steps else []
        if steps and count % steps:
            self._backend_increment_gradient_accumulators(grads, kept)
        else:
            if steps:
                grads = [(g + sum_of) / steps for g, sum_of in zip(grads, kept)]
            grads = self._clip_gradients(grads)
            self._apply_weight_decay(trainable_variables)
            self._backend_update_step(grads, trainable_variables, self.learning_rate)
            if steps:
                self._backend_reset_gradient_accumulators()
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)
            updates = (count - 1) // steps if steps else count - 1  # which Keras's `iterations` gives
            if overwrites and (updates + 1) % overwrites == 0:
                self._overwrite_model_variables_with_average_value(self._trainable_variables)

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
        given = [g for g in grads if g is not None]
        if in_stateless_scope() or not inner.built or not given or any([
                convert_to_tensor(x).device == CPU for x in (*given, *variables)]):
            return False
        with cg.no_grad():
            scale: Any = self.dynamic_scale  # type: ignore[attr-defined]
            divided = [g is not None and not v.overwrite_with_gradient for g, v in zip(grads, variables)]
            unscaled = iter(cast_all([convert_to_tensor(g, "float32") for g, d in zip(grads, divided) if d], "float32",
                                     scale.value.reshape(1)))
            gradients = [next(unscaled) if d else g for g, d in zip(grads, divided)]
            norm = _run("global_norm", [convert_to_tensor(g, "float32").array for g in gradients if g is not None])
            rule = self._rule_of_scaled(inner, gradients, variables)
            if rule is None:
                self._choose_scaled(inner, gradients, variables, cg.numpy.isfinite(wrap(norm)).reshape(()))
            else:
                self._step_scaled(inner, rule, inner._clip_gradients(gradients), variables, norm)
        return True

    def _rule_of_scaled(self, inner: Any, grads: list[Any], variables: list[Any]) -> Rule | None:
        """The rule by which one call updates all variables, scale and counter; None where Keras's ops have to."""
        rule = _rule(inner)
        decays = {bool(inner.weight_decay) and inner._use_weight_decay(v) for v in variables}
        if isinstance(rule, Adam) and decays == {True}:
            rule = _with_decay(rule, float(inner.weight_decay))
        elif True in decays:
            return None
        if (rule is None or inner.use_ema or inner.gradient_accumulation_steps
                or self.dynamic_growth_steps != _GROWTH_INTERVAL):  # type: ignore[attr-defined]
            return None
        plain = [g is not None and v.constraint is None and not v.overwrite_with_gradient
                 and _fits(v, _slots(inner, v)) for g, v in zip(grads, variables)]
        return rule if all(plain) else None

    def _step_scaled(self, inner: Any, rule: Rule, grads: list[Any], variables: list[Any], norm: Any) -> None:
        scale: Any = self.dynamic_scale  # type: ignore[attr-defined]
        counter: Any = self.step_counter  # type: ignore[attr-defined]
        scaling = cg.numpy.stack([scale.value, counter.value.astype("float32")]).array
        rows = [(v, g, *_slots(inner, v)) for v, g in zip(variables, grads)]
        scaled = type(rule)(**{**vars(rule), "scaled": True})
        done = _taken(scaled, rows, inner.learning_rate, inner.iterations, norm, scaling)
        _assign(done, rows)
        inner._iterations.assign(wrap(done.steps))
        scale.assign(wrap(done.scaling[0]))  # type: ignore[index]
        counter.assign(wrap(done.scaling[1]))  # type: ignore[index]

    def _choose_scaled(self, inner: Any, grads: list[Any], variables: list[Any], finite: Any) -> None:
        """Compute Keras's step beside the variables, and take its results where all gradients are finite."""
        scale: Any = self.dynamic_scale  # type: ignore[attr-defined]
        counter: Any = self.step_counter  # type: ignore[attr-defined]
        where = cg.numpy.where
        with StatelessScope() as scope:
            inner.apply(grads, variables)
        for v in {id(v): v for v in (*variables, *inner.variables)}.values():
            stepped = scope.get_current_value(v)
            if stepped is not None:
                v._direct_assign(where(finite, stepped, v._value))
        full = counter.value == self.dynamic_growth_steps - 1  # type: ignore[attr-defined]
        factor = where(finite, where(full, 2.0, 1.0), 0.5)
        counter.assign(where(cg.numpy.logical_and(finite, cg.numpy.logical_not(full)), counter.value + 1, 0))
        scale.assign(scale.value * factor)


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
    return all([v._dtype == "float32" for v in (variable, *slots)])


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
        variable.hold(wrap(array))
    for i, arrays in enumerate(done.slots):
        for variable, array in zip([row[2 + i] for row in rows], arrays):
            variable.hold(wrap(array))
