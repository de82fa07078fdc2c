"""The functions that `keras.backend` had before Keras 3 and that old losses call as `K.x`, made of `keras.ops`.

They take and return tensors; in a Lambda layer or a functional model they take and return symbolic tensors. With
`python -m convgpu.keras --tf-keras` they are in `tensorflow.keras.backend` and `keras.backend`.

>>> from convgpu.keras import legacy_backend as K
>>> K.sum(K.flatten(K.cast([[1, 0], [1, 1]], "float32"))).item()
3.0
"""
# ruff: noqa: A001, A002, F403, N812 (the names come from Keras 2)

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.config import epsilon, floatx, image_data_format

from .arithmetic import *
from .shapes import *
from .values import *

_NO_SESSIONS = "leave out the call, since Keras 3 computes at once and has no sessions"
REPLACEMENTS = {  # what to do instead
    "get_session": _NO_SESSIONS, "set_session": _NO_SESSIONS,
    "ctc_label_dense_to_sparse": "pass the labels as they are: K.ctc_batch_cost and keras.ops.ctc_loss take dense ones",
    **{name: f"use {instead}" for name, instead in {
        "tf": "keras.ops", "placeholder": "keras.Input(shape)", "is_placeholder": "keras.backend.is_keras_tensor",
        "binary_focal_crossentropy": "keras.losses.binary_focal_crossentropy",
        "categorical_focal_crossentropy": "keras.losses.categorical_focal_crossentropy",
        "separable_conv2d": "keras.ops.separable_conv", "separable_conv1d": "keras.ops.separable_conv",
        "conv2d_transpose": "keras.ops.conv_transpose", "batch_normalization": "keras.ops.batch_normalization",
        "normalize_batch_in_training": "keras.ops.moments and keras.ops.batch_normalization"}.items()},
}
SAME = set("""
abs cos dot elu equal exp eye greater greater_equal less less_equal log logsumexp maximum minimum not_equal
one_hot ones_like round shape sigmoid sign sin softplus softsign sqrt square squeeze tanh tile transpose zeros_like
""".split())  # keras.ops has these functions under the same names


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in SAME:
        return getattr(ops, name)
    if name in vars(keras.backend):
        return getattr(keras.backend, name)
    advice = REPLACEMENTS.get(name, "use the functions of keras.ops")
    raise AttributeError(f"keras.backend.{name}: convgpu does not have this function of older Keras; {advice}")
