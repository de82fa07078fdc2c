"""keras.ops.linalg, borrowed from Keras's NumPy backend."""

from __future__ import annotations

from convgpu.keras.borrow import borrowed

exec(borrowed("linalg"), globals())
