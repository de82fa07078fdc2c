"""A pytest plugin that stands in for the conftest.py of Keras's tests, which its wheel leaves out.

It selects the backend, gives the markers their meaning, and leaves out what `files.txt` and `exclusions.txt` list.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import run

import convgpu.keras  # noqa: F401
from convgpu.keras_loader import EDITS

# isort: split
from keras.src.utils import module_utils

EXCLUSIONS = Path(__file__).with_name("exclusions.txt")
PACKAGE = "keras/src/"


def skip_if_backend(given_backend: str, reason: str) -> pytest.MarkDecorator:
    """What the tests import from their conftest."""
    return pytest.mark.skipif(given_backend == "convgpu", reason=reason)


class _Absent(ModuleType):
    """A name of a package that is not installed: importing it works, and whoever calls or subclasses it is skipped."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        pytest.skip(f"needs the package {self.__name__.split('.')[0]}", allow_module_level=True)

    def __mro_entries__(self, bases: Any) -> Any:
        self()

    def __instancecheck__(self, instance: Any) -> bool:
        return False


class _AbsentFinder:
    """Finds the modules of the packages of ABSENT."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, cls) if name.split(".")[0] in ABSENT else None  # type: ignore

    @staticmethod
    def create_module(spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = _Absent(spec.name)
        if spec.name == "tensorflow":
            module.executing_eagerly = lambda: True  # type: ignore[attr-defined] - Keras asks wherever it is loaded
        return module

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        pass


ABSENT = [name for name in ("tensorflow", "grain", "jax", "torch") if importlib.util.find_spec(name) is None]
for lazy in vars(module_utils).values():
    if isinstance(lazy, module_utils.LazyModule) and lazy.name.split(".")[0] in ABSENT:
        lazy._available = False
sys.meta_path.append(_AbsentFinder)  # type: ignore[arg-type]



class _DtypesOfJax(ModuleType):
    """jax.numpy, whose functions of arrays give tests shapes and dtypes alone.

    They ask it for nothing else, and it would compile each of thousands of calls.
    """

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._numpy, name)
        of_a_test = str(sys._getframe(1).f_globals.get("__name__")).endswith("_test")
        is_function = inspect.isroutine(found) or (callable(found) and hasattr(found, "lower"))  # plain, or jitted
        return functools.partial(self._abstract, found) if of_a_test and is_function else found

    @staticmethod
    def _abstract(function: Any, *args: Any, **options: Any) -> Any:
        import jax

        leaves, tree = jax.tree.flatten((args, options))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))]
        if not places or any(isinstance(leaves[i], jax.core.Tracer) for i in places):
            return function(*args, **options)

        def run(arrays: list[Any]) -> Any:
            filled = dict(zip(places, arrays))
            positional, named = jax.tree.unflatten(tree, [filled.get(i, leaf) for i, leaf in enumerate(leaves)])
            return function(*positional, **named)

        arrays = [leaves[i] for i in places]
        try:
            return jax.eval_shape(run, arrays)
        except Exception:  # noqa: BLE001 - of a function that needs values: it gets ones, and raises what it raises
            return run([jax.numpy._numpy.ones(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x
                        for x in arrays])


if "jax" not in ABSENT:
    import jax
    import jax.numpy

    dtypes_of_jax = _DtypesOfJax("jax.numpy")
    dtypes_of_jax._numpy = jax.numpy  # type: ignore[attr-defined]
    jax.numpy = sys.modules["jax.numpy"] = dtypes_of_jax  # type: ignore[assignment]

# This test chooses a trainer and a device by the name of the backend.
EDITS["keras.src.trainers.trainer_test"] = {
    'elif backend.backend() == "numpy":\n':
        'elif backend.backend() == "convgpu":\n'
        "    from convgpu.keras.backend.trainer import ConvgpuTrainer as Trainer\n"
        'elif backend.backend() == "numpy":\n',
    '"torch": "cpu",\n':
        '"torch": "cpu",\n'
        '            "convgpu": "cpu:0",\n',
}

# This one compares the signatures of Keras's functions with the backend's, which have type hints here.
EDITS["keras.src.ops.ops_test"] = {
    "                inspect.signature(backend_op_function),\n":
        "                __import__('conftest').without_hints(inspect.signature(backend_op_function)),\n",
}


def without_hints(signature: inspect.Signature) -> inspect.Signature:
    """A signature of names, kinds and defaults alone."""
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)


sys.modules["conftest"] = ModuleType("conftest")
sys.modules["conftest"].skip_if_backend = skip_if_backend  # type: ignore[attr-defined]
sys.modules["conftest"].without_hints = without_hints  # type: ignore[attr-defined]


def exclusions() -> dict[str, str]:
    """Per test, or the beginning of its name up to a `::` or `[`, why it is left out."""
    listed: dict[str, str] = {}
    reason = ""
    for line in EXCLUSIONS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ")
        elif line.strip():
            listed[line.strip()] = reason
    return listed


EXCLUDED = exclusions()


def _is_there(reason: str) -> bool:
    """Whether the package is installed that a test `needs`."""
    needed = re.search(r"needs the package (\w+)$", reason)
    return needed is not None and needed[1] not in ABSENT and importlib.util.find_spec(needed[1]) is not None


def _marker(reason: str) -> pytest.MarkDecorator:
    """Of a test that is left out; what is refused has to be, with an error."""
    if reason.startswith("refused"):
        return pytest.mark.xfail(raises=(TypeError, ValueError, NotImplementedError), strict=True, reason=reason)
    return pytest.mark.skip(reason=reason)


def pytest_configure(config: pytest.Config) -> None:
    for name in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{name}: of Keras's tests")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Files that are not run: some cannot even be imported."""
    section, reason = run.table().get(str(collection_path).partition(PACKAGE)[2], ("", ""))
    return True if section == "not run" and not _is_there(reason) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.partition(PACKAGE)[2]
        if "multi_device" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="convgpu computes on one device"))
        for beginning in (name, name.split("[")[0], name.rsplit("::", 1)[0]):
            if beginning in EXCLUDED and not _is_there(EXCLUDED[beginning]):
                item.add_marker(_marker(EXCLUDED[beginning]))
