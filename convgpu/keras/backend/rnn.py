"""Recurrent layers: Keras's own loop over time, borrowed; its functions record on the tape step by step."""

from __future__ import annotations

from convgpu.keras.borrow import borrowed

exec(borrowed("rnn"), globals())
