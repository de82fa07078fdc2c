"""The backend for Keras: the modules that `keras.src.backend` imports, named as in Keras's own backends."""

from keras.src.backend.common.name_scope import name_scope

from convgpu.keras.borrow import settle

from . import core, distribution_lib, image, linalg, math, nn, numpy, operators, random
from . import rnn as _rnn
from .core import (
    IS_THREAD_SAFE,
    SUPPORTS_COMPLEX_DTYPES,
    SUPPORTS_RAGGED_TENSORS,
    SUPPORTS_SPARSE_TENSORS,
    Variable,
    cast,
    compute_output_spec,
    cond,
    convert_to_numpy,
    convert_to_tensor,
    device_scope,
    is_tensor,
    random_seed_dtype,
    shape,
    vectorized_map,
)
from .rnn import bidirectional_gru, bidirectional_lstm, cudnn_ok, gru, lstm, rnn

for _module in (core, image, linalg, math, nn, numpy, _rnn):
    settle(vars(_module))
