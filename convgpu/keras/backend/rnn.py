"""Recurrent layers: Keras's own loop over time, borrowed from its NumPy backend, recorded on the tape step by step."""

from __future__ import annotations

from typing import Any

from convgpu import Tensor
from convgpu.keras.borrow import borrowed

exec(borrowed("rnn"), globals())


def unstack(x: Tensor, axis: int = 0) -> list[Tensor]:
    """The entries of x along an axis."""
    lead = (slice(None),) * axis
    return [x[(*lead, i)] for i in range(x.shape[axis])]
