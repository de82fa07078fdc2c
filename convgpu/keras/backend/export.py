"""Export to other runtimes: refused. Models are saved as `.keras`, `.weights.h5` and `.h5` files."""

from __future__ import annotations

from typing import Any, NoReturn


class ConvgpuExportArchive:
    """The mixin of `keras.export.ExportArchive`."""

    def track(self, resource: Any) -> NoReturn:
        """Refused."""
        raise NotImplementedError(_REFUSAL)

    def add_endpoint(self, name: str, fn: Any, input_signature: Any = None, **options: Any) -> NoReturn:
        """Refused."""
        raise NotImplementedError(_REFUSAL)


_REFUSAL = ("export: the convgpu backend exports no graphs; save the model with model.save(\"model.keras\"), and "
            "export it from there with another backend of Keras")
