"""The order of the project: one name for one thing in every room, and the signatures that users rely on."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import convgpu as cg
from convgpu import Op, backends
from convgpu.backends.native import Native

ROOT = Path(__file__).parent.parent
# The ops that backends run, and the family of each: the file that declares it.
FAMILIES = {name: path.stem for path in sorted((ROOT / "convgpu" / "ops").glob("*.py"))
            for name in re.findall(r'\bOp\("(\w+)"', path.read_text(encoding="utf-8"))
            if Op.registry[name].forward is None}
PAGES = {"conv": "convolution.md", "pool": "pooling.md", "gemm": "gemm.md"}


@pytest.mark.parametrize("backend", [*backends.CPU_BACKENDS, "native"])
@pytest.mark.parametrize("name", FAMILIES)
def test_backends_run_every_op_under_its_name_and_with_its_arguments(name: str, backend: str) -> None:
    function = getattr(Native if backend == "native" else backends.load(backend), name)
    assert function.__name__ == name and function.__doc__
    parameters = tuple(inspect.signature(function).parameters)
    assert parameters[backend == "native":] == Op.registry[name].arguments  # without self


@pytest.mark.parametrize("backend", backends.CPU_BACKENDS)
def test_backends_have_no_function_that_is_no_op(backend: str) -> None:
    module = backends.load(backend)
    functions = {name for name, value in vars(module).items()
                 if inspect.isfunction(value) and value.__module__.startswith(module.__name__)}
    assert {name for name in functions if not name.startswith("_")} == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_room_is_missing_an_op(name: str) -> None:
    family = FAMILIES[name]
    assert (ROOT / "convgpu" / "cases" / f"{family}.py").is_file()
    for room in (ROOT / "tests" / f"test_{family}.py", ROOT / "docs" / PAGES[family]):
        assert re.search(rf"\b{name}\b", room.read_text(encoding="utf-8")), f"{name} is missing in {room.name}"


@pytest.mark.parametrize("signature", [
    "tensor(data, *, dtype=None, device=None, requires_grad=False)",
    "grad(outputs, inputs, grad_outputs=None, create_graph=False, retain_graph=None)",
    "conv(x, w, bias=None, *, stride=1, padding='valid', dilation=1, groups=1, flip=False, activation=None, "
    "data_format='channels_last')",
    "conv_transpose(x, w, bias=None, *, stride=1, padding='valid', output_padding=None, dilation=1, groups=1, "
    "activation=None, data_format='channels_last')",
    "depthwise_conv(x, w, bias=None, *, stride=1, padding='valid', dilation=1, flip=False, activation=None, "
    "data_format='channels_last')",
    "max_pool(x, size, *, stride=None, padding='valid', dilation=1, ceil_mode=False, return_indices=False, "
    "data_format='channels_last')",
    "avg_pool(x, size, *, stride=None, padding='valid', ceil_mode=False, count_include_pad=False, "
    "data_format='channels_last')",
    "gemm(a, b, c=None, *, alpha=1.0, beta=1.0, trans_a=False, trans_b=False, activation=None)",
    "matmul(a, b)",
    "linear(x, w, bias=None, *, activation=None)",
])
def test_signatures_that_users_rely_on(signature: str) -> None:
    function = inspect.signature(getattr(cg, signature.partition("(")[0]))
    bare = function.replace(return_annotation=inspect.Signature.empty, parameters=[
        p.replace(annotation=inspect.Parameter.empty) for p in function.parameters.values()])
    assert str(bare) == signature[signature.index("("):]


@pytest.mark.parametrize("module", [cg, cg.numpy, cg.optim], ids=lambda module: module.__name__)
def test_public_names_say_what_they_are(module: object) -> None:
    for name in getattr(module, "__all__", ["SGD", "Adam", "AdamW"]):
        value = getattr(module, name)
        if callable(value):
            assert value.__doc__ and value.__doc__ != Op.__doc__ or value is Op, name


def test_ops_describe_themselves() -> None:
    assert cg.exp.__name__ == "exp"
    assert cg.exp.__doc__ == "exp(x) -> y\n\n" + np.exp.__doc__.split("\n\n")[1]
    assert cg.numpy.add.__doc__.startswith("add(a, b) -> y\n\nAdd ")
    assert Op.registry["conv_wgrad"].__doc__ == "conv_wgrad(x, gy; geo) -> gw"
    assert Op("nameless", "x; n=2 -> y", lambda x, n: x * n).__doc__ == "nameless(x; n=2) -> y"


def test_the_public_names_are_listed() -> None:
    """By `__all__`, without which type checkers take what a typed package imports for private."""
    for module, ours in ((cg, {"numpy", "optim", "tree"}), (cg.numpy, {"linalg"})):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        imported = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom)
                    for alias in node.names}
        assert ours <= set(module.__all__) and len(set(module.__all__)) == len(module.__all__)
        helpers = {"Any", "DTypeLike", "annotations", "as_dtype", "as_tensor", "tensor", "Tensor", "_creation",
                   "_contains", "_is_tensor_like"}
        assert imported - set(module.__all__) <= helpers
