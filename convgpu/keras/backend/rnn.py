"""Recurrent layers: Keras's own loop over time, borrowed from its NumPy backend, recorded on the tape step by step."""

from __future__ import annotations

from typing import Any

from convgpu import Tensor
from convgpu.keras.borrow import borrowed

_scope: dict[str, Any] = globals()
exec(borrowed("rnn"), _scope)
rnn, lstm, gru = _scope["rnn"], _scope["lstm"], _scope["gru"]
bidirectional_lstm, bidirectional_gru = _scope["bidirectional_lstm"], _scope["bidirectional_gru"]
cudnn_ok = _scope["cudnn_ok"]


def unstack(x: Tensor, axis: int = 0) -> list[Tensor]:
    """The entries of x along an axis."""
    lead = (slice(None),) * axis
    return [x[(*lead, i)] for i in range(x.shape[axis])]
