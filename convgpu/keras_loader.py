"""Makes Keras find a backend that it does not know, by editing 17 of its modules when they are imported.

Keras 3.14 and 3.15 choose the backend by comparing `backend()` with the names that they know, and stop at other names
with "Unable to import backend". `EDITS` lists all changes: texts that must occur in a module exactly once, and their
replacements. A later Keras is to load backends from packages named keras_NAME. Then `convgpu.keras.backend`, which has
the layout for that, stays, and this module goes. This module is not in `convgpu.keras`, because `import convgpu` runs
it where KERAS_BACKEND asks for convgpu, and must not import Keras.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any

NAME = "convgpu"
VERSIONS = ((3, 14), (3, 16))  # from the first version (inclusive) to the second (exclusive)
WORKING = 'convgpu runs on Keras 3.14 and 3.15: pip install "keras>=3.14,<3.16"'


EDITS: dict[str, dict[str, str]] = {
    "keras.src.backend": {
        'elif backend() == "numpy":':
            'elif backend() == "convgpu":\n'
            "    from convgpu.keras.backend import *  # noqa: F403\n"
            "    from convgpu.keras.backend.core import Variable as BackendVariable\n"
            "    from convgpu.keras.backend import distribution_lib\n"
            'elif backend() == "numpy":',
    },
    "keras.src.layers.layer": {
        'elif backend.backend() == "numpy":':
            'elif backend.backend() == "convgpu":\n'
            "    from convgpu.keras.backend.layer import ConvgpuLayer as BackendLayer\n"
            'elif backend.backend() == "numpy":',
    },
    "keras.src.models.model": {
        'elif backend.backend() == "numpy":':
            'elif backend.backend() == "convgpu":\n'
            "    from convgpu.keras.backend.trainer import ConvgpuTrainer as Trainer\n"
            'elif backend.backend() == "numpy":',
    },
    "keras.src.optimizers.optimizer": {
        'elif backend.backend() == "jax":':
            'elif backend.backend() == "convgpu":\n'
            "    from convgpu.keras.backend.optimizer import ConvgpuOptimizer as BackendOptimizer\n"
            'elif backend.backend() == "jax":',
    },
    "keras.src.export.saved_model": {
        'elif backend.backend() == "numpy":':
            'elif backend.backend() == "convgpu":\n'
            "    from convgpu.keras.backend.export import (\n"
            "        ConvgpuExportArchive as BackendSavedModelExportArchive,\n"
            "    )\n"
            'elif backend.backend() == "numpy":',
    },
    "keras.src.export.onnx": {
        '    elif backend.backend() == "jax":\n':
            '    elif backend.backend() == "convgpu":\n'
            "        from convgpu.keras.backend.export import export_onnx as export_by_convgpu\n"
            "        export_by_convgpu(model, filepath, input_signature, opset_version)\n"
            '    elif backend.backend() == "jax":\n',
    },
    "keras.src.distribution.distribution_lib": {
        "    global_state.set_global_attribute(GLOBAL_ATTRIBUTE_NAME, value)":
            "    distribution_lib.check(value)\n"
            "    global_state.set_global_attribute(GLOBAL_ATTRIBUTE_NAME, value)",
    },
    "keras.src.utils.backend_utils": {
        '        if self._backend == "numpy":\n':
            '        if self._backend == "convgpu":\n'
            "            return getattr(backend_module, name)\n"
            '        if self._backend == "numpy":\n',
    },
    "keras.src.utils.traceback_utils": {
        '        elif backend.backend() == "numpy":\n':
            '        elif backend.backend() == "convgpu":\n'
            '            tensor_cls = "convgpu.Tensor"\n'
            '        elif backend.backend() == "numpy":\n',
    },
    # A run through a graph drops each tensor after its last consumer.
    "keras.src.ops.function": {
        "        nodes_by_depth = self._nodes_by_depth\n":
            "        from convgpu.keras.backend.graph import Uses\n"
            "        nodes_by_depth = self._nodes_by_depth\n"
            "        uses = Uses(nodes_by_depth, self.inputs, self.outputs)\n",
        "                    tensor_dict[id(x)] = y\n\n        output_tensors = []\n":
            "                    tensor_dict[id(x)] = y\n"
            "                args = kwargs = outputs = y = None\n"
            "                uses.drop_after(node, tensor_dict)\n\n        output_tensors = []\n",
    },
    # Layers that convgpu normalises in few kernels; where its formula is not the layer's, None is returned.
    "keras.src.layers.normalization.batch_normalization": {
        "        # BN is prone to overflow with float16/bfloat16 inputs, so we upcast to\n":
            "        if (fused := backend.nn.batch_norm_of(self, inputs, training, mask)) is not None:\n"
            "            return fused\n"
            "        # BN is prone to overflow with float16/bfloat16 inputs, so we upcast to\n",
    },
    "keras.src.layers.normalization.group_normalization": {
        "        reshaped_inputs = self._reshape_into_groups(inputs)\n":
            "        if (fused := backend.nn.group_norm_of(self, inputs)) is not None:\n"
            "            return fused\n"
            "        reshaped_inputs = self._reshape_into_groups(inputs)\n",
    },
    "keras.src.ops.nn": {
        "def _layer_normalization(\n"
        "    x, gamma=None, beta=None, axis=-1, epsilon=None, rms_scaling=False\n"
        "):\n":
            "def _layer_normalization(\n"
            "    x, gamma=None, beta=None, axis=-1, epsilon=None, rms_scaling=False\n"
            "):\n"
            "    fused = backend.nn.layer_norm(x, gamma, beta, axis, epsilon, rms_scaling)\n"
            "    if fused is not None:\n"
            "        return fused\n",
    },
    # Layers whose bias and activation the kernel adds; where it cannot, None is returned.
    **{f"keras.src.layers.convolutional.{module}": {
        "    def call(self, inputs):\n":
            "    def call(self, inputs):\n"
            f"        from convgpu.keras.backend.nn import {function}\n"
            f"        if (fused := {function}(self, inputs)) is not None:\n"
            "            return fused\n",
    } for module, function in (("base_conv", "conv_of"), ("conv1d", "conv_of"),
                               ("base_depthwise_conv", "depthwise_conv_of"),
                               ("base_separable_conv", "separable_conv_of"),
                               ("base_conv_transpose", "conv_transpose_of"))},
    "keras.src.layers.core.dense": {
        "    def call(self, inputs, training=None):\n":
            "    def call(self, inputs, training=None):\n"
            "        from convgpu.keras.backend.nn import dense_of\n"
            "        if (fused := dense_of(self, inputs)) is not None:\n"
            "            return fused\n",
    },
    # Whether labels are binary is decided on the device; the host would wait for it.
    "keras.src.losses.losses": {
        "    updated_y_true = ops.cond(\n"
        "        is_binary, _convert_binary_labels, _return_labels_unconverted\n"
        "    )\n":
            "    updated_y_true = ops.where(is_binary, _convert_binary_labels(), y_true)\n",
    },
    "keras.src.optimizers.loss_scale_optimizer": {
        '        if backend.backend() == "tensorflow":\n':
            "        if self._apply_scaled(grads, trainable_variables):\n"
            "            return\n"
            '        if backend.backend() == "tensorflow":\n',
    },
    # The name of a dtype is the usual argument, and Keras asks some thousand times in a step.
    "keras.src.backend.common.variables": {
        "def standardize_dtype(dtype):\n":
            "def standardize_dtype(dtype):\n"
            "    if type(dtype) is str and dtype in dtypes.ALLOWED_DTYPES:\n"
            "        return dtype\n",
    },
    # Apart from TensorFlow, Keras's backends know no float64; here float64 stays when floatx is float64.
    "keras.src.backend.common.dtypes": {
        '    out_dtype = BIT64_TO_BIT32_DTYPE.get(out_dtype, out_dtype)\n':
            '    if out_dtype != "float64" or config.floatx() != "float64":\n'
            "        out_dtype = BIT64_TO_BIT32_DTYPE.get(out_dtype, out_dtype)\n",
    },
}


def edited(module: str, source: str) -> str:
    """The source of a module of Keras with its edits.

    Raises:
        ImportError: a text to be replaced does not occur exactly once.
    """
    for before, after in EDITS[module].items():
        if source.count(before) != 1:
            raise ImportError(f"convgpu.keras: expected {before.strip()!r} once in {module}, where Keras chooses its "
                              f"backend, found it {source.count(before)} times; {WORKING}")
        source = source.replace(before, after)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a module of Keras with its edits, and never uses the cached bytecode of the original."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_source(fullname)
        return self.source_to_code(edited(fullname, source or "").encode(), path)


class _Finder:
    """The first finder in `sys.meta_path`: it handles the modules of EDITS, and leaves all other modules alone."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if name not in EDITS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None:
            raise ImportError(f"convgpu.keras: this Keras has no module {name}; {WORKING}")
        spec.loader = _Loader(name, spec.origin)
        return spec


def install_if_asked() -> None:
    """Make convgpu the backend where the environment says KERAS_BACKEND=convgpu and Keras is not imported yet."""
    if os.environ.get("KERAS_BACKEND") == NAME and "keras.src" not in sys.modules:
        try:
            importlib.metadata.version("keras")
        except importlib.metadata.PackageNotFoundError:
            return  # without Keras, nothing asks for a backend
        install()


def install() -> None:
    """Make "convgpu" the backend of the Keras that is imported next.

    Raises:
        ImportError: Keras is missing, was imported before with another backend, or has a version that is not supported.
    """
    if NAME == os.environ.get("KERAS_BACKEND") and _Finder in sys.meta_path:
        return
    try:
        version = importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError('convgpu.keras needs the package keras: pip install "convgpu[keras]"') from error
    number = tuple(map(int, version.split(".")[:2]))
    if not VERSIONS[0] <= number < VERSIONS[1]:
        raise ImportError(f"convgpu.keras: Keras {version} is installed, which it does not know; {WORKING}")
    if "keras.src" in sys.modules:
        raise ImportError("convgpu.keras: keras was imported before, with another backend; put `import convgpu.keras` "
                          "before the first `import keras`")
    os.environ["KERAS_BACKEND"] = NAME
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
