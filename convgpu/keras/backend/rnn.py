"""Recurrent layers: Keras's own loop over time, borrowed from its NumPy backend; the tape records each step."""

from __future__ import annotations

from typing import Any

from convgpu import Tensor
from convgpu.keras.borrow import borrow

_scope = borrow("rnn", globals())
rnn, lstm, gru, cudnn_ok = (_scope[name] for name in ("rnn", "lstm", "gru", "cudnn_ok"))


def unstack(x: Tensor, axis: int = 0) -> list[Tensor]:
    """The entries of x along an axis."""
    lead = (slice(None),) * axis
    return [x[(*lead, i)] for i in range(x.shape[axis])]


def bidirectional_lstm(*args: Any, **kwargs: Any) -> Tensor:
    """Raise an error: Keras 3.15 asks first for both directions in one call, and then runs one after the other."""
    raise NotImplementedError("bidirectional_lstm is not implemented on convgpu")


def bidirectional_gru(*args: Any, **kwargs: Any) -> Tensor:
    """Raise an error, as bidirectional_lstm."""
    raise NotImplementedError("bidirectional_gru is not implemented on convgpu")
