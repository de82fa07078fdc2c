"""Export to other runtimes, which raises an error. Models are saved as `.keras`, `.weights.h5` and `.h5` files."""

from __future__ import annotations

from typing import Any, NoReturn


class ConvgpuExportArchive:
    """The mixin of `keras.export.ExportArchive`."""

    def track(self, resource: Any) -> NoReturn:
        """Raise an error: there is no export."""
        raise NotImplementedError(_REFUSAL)

    def add_endpoint(self, name: str, fn: Any, input_signature: Any = None, **options: Any) -> NoReturn:
        """Raise an error: there is no export."""
        raise NotImplementedError(_REFUSAL)

    def track_and_add_endpoint(self, name: str, resource: Any, input_signature: Any, **options: Any) -> NoReturn:
        """Raise an error: there is no export."""
        raise NotImplementedError(_REFUSAL)


_REFUSAL = ("`export_saved_model` only currently supports the tensorflow, jax and torch backends. With convgpu, "
            "save the model by model.save(\"model.keras\"); load and export it in a process with another backend.")
