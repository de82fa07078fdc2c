"""Export to other runtimes: to ONNX by convgpu.onnx.export. Other formats raise an error; models are saved as `.keras`,
`.weights.h5` and `.h5` files.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from keras.src import tree


def export_onnx(model: Any, filepath: Any, input_signature: Any, opset_version: int | None) -> None:
    """Write a model as ONNX, with the inputs of a signature of Keras.

    Args:
        input_signature: a structure of specs. A first size of None is the batch's; other sizes are numbers.
        opset_version: None, or the version that convgpu.onnx.export writes.

    Raises:
        ValueError: another opset, or a size of None along another axis. NotImplementedError: an op that ONNX lacks.
    """
    import convgpu as cg

    opset = cg.onnx.OPSET
    if opset_version not in (None, opset):
        raise ValueError(f"export: expected opset_version to be None or {opset}, got {opset_version}")
    specs = tree.flatten(input_signature)
    free = [spec.shape[:1] == (None,) for spec in specs]
    if any([None in spec.shape[1:] for spec in specs]) or any(free) and not all(free):
        shapes = ", ".join([str(spec.shape) for spec in specs])
        raise ValueError("export: expected sizes of None along the first axis alone, and of all inputs or of none, got "
                         f"{shapes}; give an input_signature of keras.InputSpec")
    names = [getattr(spec, "name", None) or f"input_{i}" for i, spec in enumerate(specs)]
    rng = np.random.default_rng(0)
    examples = [_example(rng, spec) for spec in specs]

    def predict(params: Any, *flat: Any) -> Any:
        arguments = tree.pack_sequence_as(input_signature, list(flat))
        return tree.flatten(model(*arguments, training=False))

    params = {variable.path: variable for variable in model.variables}
    cg.onnx.export(predict, params, *examples, path=filepath, dynamic_batch=all(free), input_names=names)


def _example(rng: np.random.Generator, spec: Any) -> np.ndarray:
    """Small numbers in the shape and dtype of a spec, for two examples where their number is open."""
    import convgpu as cg

    shape = [2 if n is None else n for n in spec.shape]
    return cg.tensor(rng.random(shape), dtype=spec.dtype or "float32").numpy()


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
            "export as ONNX (format=\"onnx\"), or save the model by model.save(\"model.keras\") and load and export it "
            "in a process with another backend.")
