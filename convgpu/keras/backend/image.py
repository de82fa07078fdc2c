"""keras.ops.image, borrowed from Keras's NumPy backend."""

from __future__ import annotations

from convgpu.keras.borrow import borrowed

exec(borrowed("image"), globals())
