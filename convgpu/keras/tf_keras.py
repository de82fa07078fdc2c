"""Makes `from tensorflow import keras` and `tensorflow.keras.*` give Keras 3 on convgpu, without TensorFlow.

It also gives what scripts for Keras 2 use and Keras 3 has dropped or has for TensorFlow alone: the functions of
`keras.backend`, `layers.experimental.preprocessing`, `timeseries_dataset_from_array`. Nothing else of TensorFlow is
here: any other name raises an error that explains it in one sentence, and for TensorFlow 1 names what Keras 3 has
instead.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

_KERAS = "keras._tf_keras.keras"  # Keras's own package of the names that TensorFlow shows as tensorflow.keras

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


# Modules that Keras 3 no longer has, and the modules where their names are now.
MOVED = {
    "layers.experimental": "layers", "layers.experimental.preprocessing": "layers", "layers.preprocessing": "layers",
    "optimizers.legacy": "optimizers", "optimizers.schedules.legacy": "optimizers.schedules",
    "mixed_precision.experimental": "mixed_precision", "utils.np_utils": "utils", "utils.vis_utils": "utils",
    "callbacks.experimental": "callbacks",
}
# Private packages from which old scripts import the names of tensorflow.keras.
PRIVATE = ("tensorflow.python.keras", "tensorflow.contrib.keras", "tensorflow_core.keras")
GONE = {
    "wrappers.scikit_learn": "keras.wrappers.SKLearnClassifier and SKLearnRegressor",
    "estimator": "model.fit", "experimental": "keras.layers and keras.models",
    "preprocessing.image_dataset": "keras.utils", "engine": "keras.layers and keras.models",
}


class _TensorFlow(ModuleType):
    """The module `tensorflow`, which only contains `keras`; other names raise an error that says so."""

    __path__: list[str] = []
    __version__ = "0 (Keras 3 on convgpu)"

    @staticmethod
    def executing_eagerly() -> bool:
        """Return True: Keras asks this wherever a module named tensorflow is loaded."""
        return True

    def __getattr__(self, name: str) -> Any:
        if name == "keras":
            return importlib.import_module("tensorflow.keras")
        if name in ("python", "contrib"):
            return importlib.import_module(f"tensorflow.{name}")
        raise AttributeError(_explained(f"tensorflow.{name}"))


class _Finder:
    """Finds `tensorflow.keras.x` as Keras's module x; other imports from `tensorflow` raise an explaining error."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in ("tensorflow", "tensorflow_core"):
            return None
        if name in _ABOVE_PRIVATE or _inside(name) is not None:
            return importlib.machinery.ModuleSpec(name, cls, is_package=True)  # type: ignore[arg-type]
        raise ModuleNotFoundError(_explained(name), name=name)

    @staticmethod
    def create_module(spec: importlib.machinery.ModuleSpec) -> ModuleType:
        if spec.name in _ABOVE_PRIVATE:
            return _Above(spec.name)
        inside = _inside(spec.name)
        assert inside is not None
        found = importlib.import_module(inside)
        module = ModuleType(spec.name, found.__doc__)  # a new module object, so that Keras's module keeps its own name
        module.__dict__.update({k: v for k, v in vars(found).items()
                                if not k.startswith("__") and not isinstance(v, ModuleType)})
        module.__dict__.update(_added(inside.removeprefix(_KERAS)))
        module.__getattr__ = lambda name: _attribute(found, spec.name, name)  # type: ignore[method-assign]
        return module

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        pass


class _Above(ModuleType):
    """A package that exists only because a private package lies in it."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_explained(f"{self.__name__}.{name}"))


_ABOVE_PRIVATE = {name.rpartition(".")[0] for name in PRIVATE} - {"tensorflow"}


def _rest(name: str) -> str | None:
    """The part of a module's name after `tensorflow.keras` or after a private package; None for other names."""
    for beginning in ("tensorflow.keras", *PRIVATE):
        if name == beginning or name.startswith(beginning + "."):
            return name[len(beginning):].lstrip(".")
    return None


def _inside(name: str) -> str | None:
    """The name of Keras's module for a module of tensorflow.keras; None where there is none."""
    rest = _rest(name)
    if rest is None:
        return None
    rest = MOVED.get(rest, rest)
    if rest == "backend":
        return "convgpu.keras.legacy_backend"
    candidates = [package + f".{rest}" * bool(rest) for package in (_KERAS, "keras")]
    return next((c for c in candidates if _exists(c)), None)


def _added(module: str) -> dict[str, Any]:
    """Names that a module of tensorflow.keras has in addition to those of Keras 3."""
    if module in (".utils", ".preprocessing"):
        from .timeseries import timeseries_dataset_from_array

        return {"timeseries_dataset_from_array": timeseries_dataset_from_array}
    return {}


def _attribute(found: ModuleType, module: str, name: str) -> Any:
    """An attribute that a stand-in module does not hold itself: a submodule, or an attribute of the real module."""
    if name.startswith("__"):
        raise AttributeError(name)
    if _inside(f"{module}.{name}") is not None:
        return importlib.import_module(f"{module}.{name}")
    if found.__name__ == "convgpu.keras.legacy_backend" or hasattr(found, name):
        return getattr(found, name)
    raise AttributeError(_explained(f"{module}.{name}"))


def _explained(name: str) -> str:
    """An explanation in one sentence: why there is no such module or name, and what to use instead."""
    rest = _rest(name)
    if rest is None:
        first = name.split(".")[1] if "." in name else name
        instead = f"; use {REPLACEMENTS[first]}" if first in REPLACEMENTS else ""
        return f"{name}: convgpu answers for tensorflow.keras alone{instead}"
    for gone, instead in GONE.items():
        if rest == gone or rest.startswith(gone + "."):
            return f"{name}: Keras 3 does not have it; use {instead}"
    where = " and in tensorflow.keras" if not name.startswith("tensorflow.keras") else ""
    return f"{name}: Keras 3 does not have it; look for {rest.rpartition('.')[2]} in keras.layers, keras.ops{where}"


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a parent module does not exist
        return False


def install() -> None:
    """Make this process find `tensorflow.keras`, and give `keras.backend` the functions that it had before Keras 3."""
    import keras
    from keras.src.utils import module_utils

    from . import legacy_backend

    keras.backend.__getattr__ = lambda name: getattr(legacy_backend, name)

    for lazy in vars(module_utils).values():  # Keras itself must not take the stand-in for TensorFlow
        if isinstance(lazy, module_utils.LazyModule) and lazy.name.split(".")[0] == "tensorflow":
            lazy._available = False
    sys.modules["tensorflow"] = _TensorFlow("tensorflow")
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
