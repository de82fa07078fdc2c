"""`from tensorflow import keras` and `tensorflow.keras.*` without TensorFlow: they give Keras 3 on convgpu.

Nothing else of TensorFlow is here: another name is explained in one sentence, those of TensorFlow 1 with what Keras 3
has in their place.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

_KERAS = "keras._tf_keras.keras"  # Keras's own package of the names that TensorFlow gives it

REPLACEMENTS = {
    "VERSION": "keras.__version__",
    "Session": "nothing: Keras 3 computes at once; call model.fit and model.predict",
    "placeholder": "keras.Input(shape)",
    "global_variables_initializer": "nothing: variables have their values from the start",
    "get_default_graph": "nothing: there are no graphs",
    "ConfigProto": "nothing: convgpu takes the memory that it needs",
    "GPUOptions": "nothing: convgpu takes the memory that it needs",
    "train": "keras.optimizers, for instance keras.optimizers.Adam(0.001) for tf.train.AdamOptimizer(0.001)",
    "set_random_seed": "keras.utils.set_random_seed(seed)",
    "random": "keras.random",
    "layers": "keras.layers",
    "nn": "keras.ops",
    "math": "keras.ops",
    "image": "keras.ops.image",
    "losses": "keras.losses",
    "contrib": "keras.layers and keras.optimizers",
    "GradientTape": "keras.Model.train_on_batch, or the tape of convgpu: loss.backward()",
    "function": "nothing: leave the decorator out",
    "constant": "keras.ops.convert_to_tensor",
    "Variable": "keras.Variable",
    "data": "NumPy arrays or a keras.utils.PyDataset, which model.fit takes",
}


class _TensorFlow(ModuleType):
    """The module `tensorflow`: it knows `keras`, and says so."""

    __path__: list[str] = []
    __version__ = "0 (Keras 3 on convgpu)"

    @staticmethod
    def executing_eagerly() -> bool:
        """True: Keras asks this wherever a module of this name is loaded."""
        return True

    def __getattr__(self, name: str) -> Any:
        if name == "keras":
            return importlib.import_module("tensorflow.keras")
        instead = f"; use {REPLACEMENTS[name]}" if name in REPLACEMENTS else ""
        raise AttributeError(f"tensorflow.{name}: convgpu answers for tensorflow.keras alone{instead}")


class _Finder:
    """Finds `tensorflow.keras.x` as Keras's own module x."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow.keras" and not name.startswith("tensorflow.keras."):
            return None
        return importlib.machinery.ModuleSpec(name, cls, is_package=True)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: importlib.machinery.ModuleSpec) -> ModuleType:
        rest = spec.name.removeprefix("tensorflow.keras")
        inside = _KERAS + rest
        found = importlib.import_module(inside if _exists(inside) else "keras" + rest)
        module = ModuleType(spec.name, found.__doc__)  # its own, so that the one it stands for keeps its name
        module.__dict__.update({k: v for k, v in vars(found).items() if not k.startswith("__")})
        module.__getattr__ = lambda name: getattr(found, name)  # type: ignore[method-assign]
        return module

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        pass


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent
        return False


def install() -> None:
    """Answer for `tensorflow.keras` in this process."""
    from keras.src.utils import module_utils

    for lazy in vars(module_utils).values():  # Keras itself is not to take this for TensorFlow
        if isinstance(lazy, module_utils.LazyModule) and lazy.name.split(".")[0] == "tensorflow":
            lazy._available = False
    sys.modules["tensorflow"] = _TensorFlow("tensorflow")
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
