"""fit, evaluate and predict: Keras's loops over epochs and batches, with the gradients from the tape."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from keras.src import callbacks as callbacks_module
from keras.src import optimizers as optimizers_module
from keras.src import tree
from keras.src.backend import config
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.trainers import trainer as base_trainer
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.epoch_iterator import EpochIterator
from keras.src.utils import is_default, traceback_utils
from keras.src.utils.python_utils import pythonify_logs

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.capturing.region import CaptureError
from convgpu.device import CPU, GPU
from convgpu.dtypes import is_float, is_half

from .core import cast_together, convert_to_numpy, convert_to_tensor, current_device, differentiating

_MOST_GRAPHS = 64  # of one function: kinds of batches


class ConvgpuTrainer(base_trainer.Trainer):
    """The mixin of `keras.Model`."""

    def __init__(self) -> None:
        super().__init__()
        self.train_function: Any = None
        self.test_function: Any = None
        self.predict_function: Any = None

    # --- one step

    def _predicted(self, x: Any, training: bool) -> Any:
        return self(x, training=training) if self._call_has_training_arg else self(x)

    def train_step(self, data: Any) -> Any:
        """Forward, backward and update on one batch; returns the metrics."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        with differentiating(cast_together(self._flatten_layers())):
            y_pred = self._predicted(x, True)
            loss = self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            scaled = loss if self.optimizer is None else self.optimizer.scale_loss(loss)
        self._loss_tracker.update_state(loss.detach(), sample_weight=_batch_size(x))
        if self.trainable_weights:
            variables = self.trainable_weights[:]
            self.optimizer.apply(gradients(scaled, variables), variables)
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        with cg.no_grad():
            return self.compute_metrics(x, y, tree.map_structure(_detached, y_pred), sample_weight=sample_weight)

    def test_step(self, data: Any) -> Any:
        """Outputs, loss and metrics of one batch; returns the metrics."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        y_pred = self._predicted(x, False)
        loss = self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
        self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs of one batch."""
        x, _, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
        return self._predicted(x, False)

    def make_train_function(self, force: bool = False) -> Any:
        """A function of a list of batches that trains on each batch and returns the last metrics."""
        if self.train_function is None or force:
            self.train_function = self._stepping(lambda batches: [self.train_step(data) for data in batches][-1])
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """A function of a list of batches that evaluates each without recording, and returns the last metrics."""
        if self.test_function is None or force:
            self.test_function = cg.no_grad()(self._stepping(
                lambda batches: [self.test_step(data) for data in batches][-1]))
        return self.test_function

    def make_predict_function(self, force: bool = False) -> Any:
        """A function of a list of batches that returns their outputs, unrecorded, joined as NumPy arrays."""
        if self.predict_function is None or force:
            steps = self._stepping(lambda batches: [self.predict_step(data) for data in batches])
            self.predict_function = cg.no_grad()(lambda batches: _joined(
                [tree.map_structure(convert_to_numpy, outputs) for outputs in steps(batches)]))
        return self.predict_function

    def _stepping(self, steps: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        """A function of a list of batches. On a GPU, with jit_compile=True, its launches become one graph."""
        if not self.jit_compile or self.run_eagerly or current_device() == CPU:
            return lambda batches: steps([_there(data) for data in batches])
        captured = cg.capture(steps, donate=(), max_graphs=_MOST_GRAPHS)
        captured.holders = lambda: [(v, "_value") for v in self._all_variables()]
        eagerly = False

        def run(batches: list[Any]) -> Any:
            nonlocal eagerly
            given = [_there(data) for data in batches]
            if not eagerly:
                try:
                    return captured(given)
                except CaptureError as error:  # everything is as it was before the call
                    eagerly = True
                    warnings.warn(f"{self.name}: jit_compile=True has no effect, and steps run eagerly: {error}",
                                  stacklevel=2)
            return steps(given)

        return run

    def _all_variables(self) -> list[Any]:
        """The variables of the model, of its metrics and of its optimizer."""
        found = [*self.variables, *self.metrics_variables]
        inner = self.optimizer
        while inner is not None:
            found += inner.variables
            inner = getattr(inner, "inner_optimizer", None)
        return list({id(v): v for v in found}.values())

    def _resolve_auto_jit_compile(self) -> bool:
        return False  # a step is recorded where jit_compile=True asks for it

    # --- loops

    @traceback_utils.filter_traceback
    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
            callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
            class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0,
            steps_per_epoch: int | None = None, validation_steps: int | None = None,
            validation_batch_size: int | None = None, validation_freq: Any = 1) -> Any:
        """Train the model; arguments and result are as in Keras."""
        self._assert_compile_called("fit")
        if config.max_epochs() and config.max_epochs() < epochs:
            epochs = config.max_epochs()
            warnings.warn(f"Limiting epochs to {epochs}", stacklevel=2)
        self._eval_epoch_iterator: Any = None
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = array_slicing.train_validation_split(
                (x, y, sample_weight), validation_split=validation_split)
        iterator = EpochIterator(x=x, y=y, sample_weight=sample_weight, batch_size=batch_size,
                                 steps_per_epoch=steps_per_epoch, shuffle=shuffle, class_weight=class_weight,
                                 steps_per_execution=self.steps_per_execution)
        self._symbolic_build(iterator=iterator)
        iterator.reset()
        callbacks = self._callback_list(callbacks, verbose, epochs, iterator, add_history=True)
        validate = None if validation_data is None else {
            "data": validation_data, "batch_size": validation_batch_size or batch_size, "steps": validation_steps,
            "freq": validation_freq}
        self.stop_training = False
        self.make_train_function()
        callbacks.on_train_begin()
        logs: dict[str, Any] = {}
        for epoch in range(self._initial_epoch or initial_epoch, epochs):
            logs = self._run_epoch(epoch, iterator, callbacks, validate)
            if self.stop_training:
                break
        if isinstance(self.optimizer, optimizers_module.Optimizer) and epochs > 0:
            self.optimizer.finalize_variable_values(self.trainable_weights)
        self._eval_epoch_iterator = None
        callbacks.on_train_end(logs=logs)
        return self.history

    def _callback_list(self, callbacks: Any, verbose: Any, epochs: int, iterator: Any,
                       add_history: bool = False) -> Any:
        if isinstance(callbacks, callbacks_module.CallbackList):
            return callbacks
        return callbacks_module.CallbackList(callbacks, add_history=add_history, add_progbar=verbose != 0,
                                             verbose=verbose, epochs=epochs, steps=iterator.num_batches, model=self)

    def _run_epoch(self, epoch: int, iterator: Any, callbacks: Any, validate: dict[str, Any] | None) -> dict[str, Any]:
        self.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        listened = _listens(callbacks, "on_train_batch_end")
        logs: Any = {}
        for begin, end, data in iterator:
            callbacks.on_train_batch_begin(begin)
            logs = self.train_function(data)
            if listened:
                callbacks.on_train_batch_end(end, logs if callbacks._async_train else _read(logs))
            if self.stop_training:
                break
        epoch_logs = _read(self._get_metrics_result_or_logs(logs))
        if validate is not None and self._should_eval(epoch, validate["freq"]):
            epoch_logs.update(self._validation_logs(validate, callbacks))
        callbacks.on_epoch_end(epoch, epoch_logs)
        return epoch_logs

    def _validation_logs(self, validate: dict[str, Any], callbacks: Any) -> dict[str, Any]:
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(validate["data"])
        if self._eval_epoch_iterator is None:
            self._eval_epoch_iterator = EpochIterator(
                x=x, y=y, sample_weight=sample_weight, batch_size=validate["batch_size"], shuffle=False,
                steps_per_execution=self.steps_per_execution, steps_per_epoch=validate["steps"])
        logs = self.evaluate(x=x, y=y, sample_weight=sample_weight, batch_size=validate["batch_size"],
                             steps=validate["steps"], callbacks=callbacks, return_dict=True,
                             _use_cached_eval_dataset=True)
        return {f"val_{name}": value for name, value in logs.items()}

    @traceback_utils.filter_traceback
    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
                 sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False,
                 **kwargs: Any) -> Any:
        """Loss and metrics over a data set; arguments and result are as in Keras."""
        self._assert_compile_called("evaluate")
        cached = kwargs.pop("_use_cached_eval_dataset", False)
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        iterator: Any = self._eval_epoch_iterator if cached else EpochIterator(
            x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, steps_per_epoch=steps, shuffle=False,
            steps_per_execution=self.steps_per_execution)
        self._symbolic_build(iterator=iterator)
        iterator.reset()
        callbacks = self._callback_list(callbacks, verbose, 1, iterator)
        self.make_test_function()
        self.stop_evaluating = False
        callbacks.on_test_begin()
        listened = _listens(callbacks, "on_test_batch_end")
        logs: Any = {}
        self.reset_metrics()
        for begin, end, data in iterator:
            callbacks.on_test_batch_begin(begin)
            logs = self.test_function(data)
            if listened:
                callbacks.on_test_batch_end(end, logs if callbacks._async_test else _read(logs))
            if self.stop_evaluating:
                break
        logs = _read(self._get_metrics_result_or_logs(logs))
        callbacks.on_test_end(logs)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    @traceback_utils.filter_traceback
    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
                callbacks: Any = None) -> Any:
        """The outputs for a data set as NumPy arrays; arguments are as in Keras."""
        iterator = EpochIterator(x=x, batch_size=batch_size, steps_per_epoch=steps, shuffle=False,
                                 steps_per_execution=self.steps_per_execution)
        callbacks = self._callback_list(callbacks, verbose, 1, iterator)
        self.make_predict_function()
        self.stop_predicting = False
        callbacks.on_predict_begin()
        outputs = []
        for begin, end, data in iterator:
            callbacks.on_predict_batch_begin(begin)
            outputs.append(self.predict_function(data))
            callbacks.on_predict_batch_end(end, {"outputs": outputs[-1]})
            if self.stop_predicting:
                break
        callbacks.on_predict_end()
        return _joined(outputs)

    # --- single batches

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
                       return_dict: bool = False) -> Any:
        """Take one training step; arguments and result are as in Keras."""
        self._assert_compile_called("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("Arguments `sample_weight` and `class_weight` cannot be specified at the same time. "
                                 f"Received: sample_weight={sample_weight}, class_weight={class_weight}")
            sample_weight = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
        data = (x, y, sample_weight)
        self._symbolic_build(data_batch=data)
        self.make_train_function()
        self.reset_metrics()
        logs = _read(self.train_function([data]))
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch; arguments and result are as in Keras."""
        self._assert_compile_called("test_on_batch")
        data = (x, y, sample_weight)
        self._symbolic_build(data_batch=data)
        self.make_test_function()
        self.reset_metrics()
        logs = _read(self.test_function([data]))
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch as NumPy arrays."""
        self.make_predict_function()
        return self.predict_function([(x,)])


def gradients(loss: Tensor, variables: Any) -> list[Tensor | None]:
    """The gradient of a loss with respect to each variable; None where the loss does not depend on it."""
    leaves = [v._value for v in variables]
    for leaf in leaves:
        leaf.zero_grad()
    if loss.requires_grad:
        loss.backward()
    grads = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.zero_grad()
    return grads


def _there(data: Any) -> Any:
    """A batch on the current device: its arrays are copied to the GPU once, before losses and metrics use them."""
    if current_device() == CPU:
        return data
    return tree.map_structure(lambda x: convert_to_tensor(x) if isinstance(x, np.ndarray) and (
        x.dtype.kind in "biuf" or is_half(x.dtype)) else x, data)


def _read(logs: Any) -> dict[str, Any]:
    """The logs as numbers, flattened as Keras flattens them; the host waits for the GPU once, not for each number."""
    found: dict[int, Tensor] = {}
    tree.map_structure(lambda x: found.setdefault(id(x), x) if isinstance(x, Tensor) and x.size == 1
                       and x.device == GPU and is_float(x.dtype) else None, logs)
    if not found:
        return dict(pythonify_logs(logs))
    numbers = cnp.concatenate([cnp.astype(cnp.ravel(x), "float64") for x in found.values()]).numpy()
    values = dict(zip(found, numbers.tolist()))
    return dict(pythonify_logs(tree.map_structure(lambda x: values.get(id(x), x), logs)))


def _listens(callbacks: Any, event: str) -> bool:
    """Whether a callback does something at the end of a batch; if none does, nobody reads the logs."""
    return any(not is_default(getattr(callback, name)) for callback in callbacks.callbacks
               for name in (event, "on_batch_end"))


def _detached(x: Any) -> Any:
    """x without its history but with its mask, so that metrics leave out masked elements."""
    if not isinstance(x, Tensor):
        return x
    y = x.detach()
    if (mask := get_keras_mask(x)) is not None:
        set_keras_mask(y, mask)
    return y


def _batch_size(x: Any) -> int:
    return next(i for i in tree.flatten(x) if i is not None).shape[0]


def _joined(outputs: list[Any]) -> Any:
    """The outputs of several batches, joined as the outputs of one batch."""
    return tree.map_structure(lambda *parts: np.concatenate(parts), *outputs) if len(outputs) > 1 else outputs[0]
