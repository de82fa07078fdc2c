"""fit, evaluate and predict: Keras's loops over epochs and batches, with the gradients from the tape.

Evaluation and prediction are Keras's own, borrowed from its NumPy backend; training is here.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from keras.src import callbacks as callbacks_module
from keras.src import optimizers as optimizers_module
from keras.src import tree
from keras.src.backend import config
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.epoch_iterator import EpochIterator
from keras.src.utils import traceback_utils
from keras.src.utils.python_utils import pythonify_logs

import convgpu as cg
from convgpu import Tensor
from convgpu.keras.borrow import borrowed

from .core import convert_to_numpy, differentiating

_borrowed: dict[str, Any] = {"__name__": __name__}
exec(borrowed("trainer"), _borrowed)
_borrowed["np"] = np  # it joins predictions, which are NumPy arrays


class ConvgpuTrainer(_borrowed["NumpyTrainer"]):
    """The mixin of `keras.Model`."""

    def __init__(self) -> None:
        super().__init__()
        self.train_function: Any = None

    # --- one step

    def train_step(self, data: Any) -> Any:
        """Forward, backward and update on one batch; returns the metrics."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        with differentiating():
            y_pred = self(x, training=True) if self._call_has_training_arg else self(x)
            loss = self._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            scaled = loss if self.optimizer is None else self.optimizer.scale_loss(loss)
        with cg.no_grad():
            self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        if self.trainable_weights:
            variables = self.trainable_weights[:]
            self.optimizer.apply(gradients(scaled, variables), variables)
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        with cg.no_grad():
            return self.compute_metrics(x, y, tree.map_structure(_detached, y_pred), sample_weight=sample_weight)

    def make_train_function(self, force: bool = False) -> Any:
        """The function of a list of batches that trains on each, and returns the metrics after the last."""
        if self.train_function is None or force:
            def train(batches: Any) -> Any:
                for data in batches:
                    logs = self.train_step(data)
                return logs

            self.train_function = train
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """The function of a list of batches that evaluates each, unrecorded."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = cg.no_grad()(self.test_function)
        return self.test_function

    def make_predict_function(self, force: bool = False) -> Any:
        """The function of a list of batches that gives the outputs, unrecorded, as NumPy arrays."""
        if self.predict_function is None or force:
            super().make_predict_function(force)
            run = cg.no_grad()(self.predict_function)
            self.predict_function = lambda data: tree.map_structure(convert_to_numpy, run(data))
        return self.predict_function

    def _resolve_auto_jit_compile(self) -> bool:
        return False  # there is no compiler

    # --- loops

    @traceback_utils.filter_traceback
    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
            callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
            class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0,
            steps_per_epoch: int | None = None, validation_steps: int | None = None,
            validation_batch_size: int | None = None, validation_freq: Any = 1) -> Any:
        """Train; arguments and result as in Keras."""
        self._assert_compile_called("fit")
        if config.max_epochs() and config.max_epochs() < epochs:
            epochs = config.max_epochs()
            warnings.warn(f"Limiting epochs to {epochs}", stacklevel=2)
        self._eval_epoch_iterator = None
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = array_slicing.train_validation_split(
                (x, y, sample_weight), validation_split=validation_split)
        iterator = EpochIterator(x=x, y=y, sample_weight=sample_weight, batch_size=batch_size,
                                 steps_per_epoch=steps_per_epoch, shuffle=shuffle, class_weight=class_weight,
                                 steps_per_execution=self.steps_per_execution)
        self._build_on_first_batch(iterator)
        if not isinstance(callbacks, callbacks_module.CallbackList):
            callbacks = callbacks_module.CallbackList(
                callbacks, add_history=True, add_progbar=verbose != 0, verbose=verbose, epochs=epochs,
                steps=iterator.num_batches, model=self)
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

    def _build_on_first_batch(self, iterator: Any) -> None:
        for _, _, data in iterator:
            self._symbolic_build(data[0])
            break
        iterator.reset()

    def _run_epoch(self, epoch: int, iterator: Any, callbacks: Any, validate: dict[str, Any] | None) -> dict[str, Any]:
        self.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        logs: Any = {}
        for begin, end, data in iterator:
            callbacks.on_train_batch_begin(begin)
            logs = self.train_function(data)
            callbacks.on_train_batch_end(end, logs)
            if self.stop_training:
                break
        epoch_logs = dict(pythonify_logs(self._get_metrics_result_or_logs(logs)))
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

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
                       return_dict: bool = False) -> Any:
        """One training step; arguments and result as in Keras."""
        self._assert_compile_called("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("Arguments `sample_weight` and `class_weight` cannot be specified at the same time. "
                                 f"Received: sample_weight={sample_weight}, class_weight={class_weight}")
            sample_weight = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
        data = (x, y, sample_weight)
        self._symbolic_build(data)
        logs = pythonify_logs(self.make_train_function()([data]))
        return logs if return_dict else self._flatten_metrics_in_order(logs)


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


def _detached(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _batch_size(x: Any) -> int:
    return next(i for i in tree.flatten(x) if i is not None).shape[0]
