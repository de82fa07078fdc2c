"""A Functional model keeps a tensor until its last consumer has run, and gives what its layers give one by one."""

from __future__ import annotations

import copy
import weakref

import numpy as np
import pytest
from optional import require

require("keras")

import convgpu.keras  # noqa: F401, E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation


class Watch(L.Layer):
    """Adds 1, and notes which of the results of layers of its kind are alive when it is called."""

    results: dict[str, weakref.ref] = {}
    alive: dict[str, set[str]] = {}

    def call(self, x):
        self.alive[self.name] = {name for name, result in self.results.items() if result() is not None}
        y = x + 1
        self.results[self.name] = weakref.ref(y)
        return y


def watched(model: keras.Model, *inputs: np.ndarray) -> tuple[object, dict[str, set[str]]]:
    """The model's results, and per layer of the class Watch which results were alive when it was called."""
    Watch.results, Watch.alive = {}, {}
    results = model(list(inputs) if len(inputs) > 1 else inputs[0])
    return results, Watch.alive


X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_result_lives_until_its_last_consumer_has_run():
    x = L.Input((3,))
    a = Watch(name="a")(x)
    b = Watch(name="b")(a)
    c = Watch(name="c")(b)
    d = Watch(name="d")(L.Add()([a, c]))
    model = keras.Model(x, Watch(name="e")(d))
    result, alive = watched(model, X)
    assert alive == {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": set(), "e": {"d"}}
    np.testing.assert_array_equal(result, 2 * X + 6)


def test_what_the_model_returns_lives_to_the_end_in_nested_models_too():
    x = L.Input((3,))
    a = Watch(name="a")(x)
    b = Watch(name="b")(a)
    inner = keras.Model(x, {"first": a, "second": b, "input": x})
    y = L.Input((3,))
    found = inner(y)
    c = Watch(name="c")(found["second"])
    d = Watch(name="d")(c)
    outer = keras.Model(y, [d, found["first"], d])
    results, alive = watched(outer, X)
    assert alive == {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a", "c"}}
    for result, expected in zip(results, (X + 4, X + 1, X + 4)):
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(inner(X)["input"], X)


@keras.saving.register_keras_serializable()
class Halves(L.Layer):
    """Two results, of which a model may use one."""

    def call(self, x):
        return x[:, :1], x[:, 1:]


def test_shared_layers_several_results_and_a_tensor_that_is_read_twice():
    x, other = L.Input((3,), name="x"), L.Input((3,), name="other")
    dense = L.Dense(3)
    first = dense(x)
    second = dense(first)
    _, used = Halves()(second)
    model = keras.Model([x, other], [L.Multiply()([used, used]), L.Subtract()([first, other])])
    a = dense(X)
    b = dense(a)[:, 1:]
    for _ in range(2):  # a run leaves nothing behind for the next
        results = model([X, X + 1])
        np.testing.assert_array_equal(results[0], b * b)
        np.testing.assert_array_equal(results[1], a - (X + 1))
    for copied in (copy.deepcopy(model), keras.models.clone_model(model)):
        copied.set_weights(model.get_weights())
        for result, expected in zip(copied([X, X + 1]), results):
            np.testing.assert_array_equal(result, expected)


def test_masks_reach_the_layers_behind():
    tokens = L.Input((4,), dtype="int32")
    embedding, lstm = L.Embedding(5, 3, mask_zero=True), L.LSTM(2, return_sequences=True)
    pool = L.GlobalAveragePooling1D()
    model = keras.Model(tokens, pool(L.Dropout(0.5)(lstm(embedding(tokens)))))
    values = np.array([[1, 2, 0, 0], [3, 4, 1, 0]])
    mask = values != 0
    plain = np.asarray(embedding(values))
    expected = pool(lstm(plain, mask=mask), mask=mask)
    np.testing.assert_array_equal(model(values), expected)
    assert not np.allclose(expected, pool(np.asarray(lstm(plain))))


def test_a_model_of_intermediate_tensors_and_an_output_that_is_not_connected():
    x = L.Input((3,))
    a = Watch(name="a")(x)
    b = Watch(name="b")(a)
    c = Watch(name="c")(b)
    results, alive = watched(keras.Model(a, [b, c]), X)
    assert alive == {"b": set(), "c": {"b"}}
    np.testing.assert_array_equal(results[1], X + 2)
    with pytest.raises(ValueError, match=r"Output with path `\d` is not connected to `inputs`"):
        keras.Function(L.Input((3,)), [c])
