"""The order of the project: one name for one thing in every room, and the signatures that users rely on."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import Op, backends
from convgpu.backends.native import Native
from convgpu.benchmark.peers import Torch
from convgpu.benchmark.verification import check
from convgpu.cases.problem import Problem
from convgpu.facts import FAMILIES, plan_of
from convgpu.roofline import GPUS, find_gpu

ROOT = Path(__file__).parent.parent
# The ops that backends run, and the file that declares each.
DECLARED = {name: path for path in sorted((ROOT / "convgpu" / "ops").glob("*.py"))
            for name in re.findall(r'\bOp\("(\w+)"', path.read_text(encoding="utf-8"))
            if Op.registry[name].forward is None}
NOT_IN_PYTORCH = {  # no op of its own does the same
    "activate", "activate_dgrad", "adam_step", "add_n", "binary", "cast_all", "channel_sum", "conv_norm",
    "cross_entropy", "cross_entropy_dgrad", "dropout", "global_norm", "integers", "lp_pool_dgrad", "lp_pool_gather",
    "max_pool_gather", "max_pool_indices", "norm_apply", "norm_apply_add", "norm_dgrad", "norm_fold", "norm_infer",
    "norm_stats", "normal", "reduce", "sgd_step", "softmax", "softmax_dgrad", "uniform",
}


@pytest.mark.parametrize("backend", [*backends.CPU_BACKENDS, "native"])
@pytest.mark.parametrize("name", DECLARED)
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
    assert {name for name in functions if not name.startswith("_")} == set(DECLARED)


def test_every_op_belongs_to_one_family() -> None:
    listed = {name for family in FAMILIES.values() for name in family.ops}
    assert not set(DECLARED) - listed, "these ops are in no FAMILY.ops of convgpu/facts"
    assert not listed - set(DECLARED), "a FAMILY.ops of convgpu/facts lists these names, which no file declares as ops"
    for name, family in FAMILIES.items():
        assert all(Op.registry[op].facts.family == name for op in family.ops)


def _says(path: Path, pattern: str) -> bool:
    return re.search(pattern, path.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("name", DECLARED)
def test_no_room_is_missing_an_op(name: str) -> None:
    try:
        facts = Op.registry[name].facts
    except LookupError as error:
        pytest.fail(f"{name} is declared in {DECLARED[name].name}, and not yet known in convgpu/facts: {error}")
    family, sources = facts.family, ROOT / "csrc" / facts.family
    kernel = rf"__global__[^;{{]*?\b{facts.kernel or name}\w*\("
    rooms = {
        "declared in a file of convgpu/ops": DECLARED[name].is_file(),
        f"known in convgpu/facts/{family}.py": (ROOT / "convgpu" / "facts" / f"{family}.py").is_file(),
        f"cases in convgpu/cases/{family}.py": (ROOT / "convgpu" / "cases" / f"{family}.py").is_file(),
        f"marshalled in convgpu/backends/native/{family}.py": _says(
            ROOT / "convgpu" / "backends" / "native" / f"{family}.py", rf"\bdef {name}\b"),
        f"bound in csrc/{family}/bind.cpp": _says(sources / "bind.cpp", rf'"{name}"'),
        f"a launcher in csrc/{family}": any(_says(path, rf"\bvoid {name}\(") for path in sources.rglob("*.h")),
        f"a kernel in csrc/{family}": any(_says(path, kernel) for path in sources.rglob("*.cuh")),
        "in the family's tests": any(_says(path, rf"\b{name}\b") for path in (
            ROOT / "tests" / f"test_{family}.py", ROOT / "tests" / f"test_{DECLARED[name].stem}.py") if path.is_file()),
        f"on the page docs/{FAMILIES[family].page}": _says(ROOT / "docs" / FAMILIES[family].page, rf"\b{name}\b"),
        "a method of Torch in convgpu/benchmark/peers/ops.py, or else a line in NOT_IN_PYTORCH above":
            hasattr(Torch, name) is (name not in NOT_IN_PYTORCH),
    }
    missing = [room for room, there in rooms.items() if not there]
    if missing:
        pytest.fail(f"{name} is missing: " + "; ".join(missing))


@pytest.mark.parametrize("name", DECLARED)
def test_facts_are_enough_to_explain_and_to_time_an_op(name: str) -> None:
    """Of some case: FLOPs and bytes, a method, operands that are drawn, and a part of the result that is compared."""
    facts = Op.registry[name].facts
    family = FAMILIES[facts.family]
    call = next((p.call for case in family.cases for p in family.problems(case, "float32", family.formats[0])
                 if p.op == name and all(0 not in shape for shape in p.call.shapes if shape is not None)), None)
    if call is None:
        pytest.fail(f"no case yields {name}: add it to `problems` in convgpu/facts/{facts.family}.py")
    problem = Problem(call, layer="some")
    assert problem.work.bytes > 0 and problem.work.seconds(GPUS[-1]) > 0 and facts.method(call)
    assert isinstance(facts.explained, Op) or facts.explained.__doc__
    arrays = problem.operands()
    assert tuple(None if a is None else a.shape for a in arrays) == call.shapes
    for few in (False, True):
        check(problem, arrays, problem.run(backends.load("numpy"), arrays), few=few)


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
    "divisor_override=None, data_format='channels_last')",
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
                   "_contains", "_explain_errors", "_is_tensor_like", "_FUNCTIONS", "_keras_loader"}
        assert imported - set(module.__all__) <= helpers


# --- four jumps: from a function of Python to the code that a GPU runs, each to a name that one can search for

KERNEL = re.compile(r"__global__ void\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\(")
# Launchers start these after the kernel that a plan names.
PASSES = {"add_chunk", "cross_entropy_total", "global_norm_total", "sum_parts"}


@cache
def _kernels(family: str) -> dict[str, set[str]]:
    """For each op of a family: the kernels that run its cases in float32, bfloat16 and whole numbers on an A100 and an
    H200, which are the first words of the plans.
    """
    native, found = backends.load("emulated"), {op: set() for op in FAMILIES[family].ops}
    for case in FAMILIES[family].cases:
        for dtype, data_format in FAMILIES[family].variants(case):
            if dtype in ("float64", "float16"):
                continue
            for problem in FAMILIES[family].problems(case, dtype, data_format):
                found[problem.op] |= {plan_of(native, problem.call, find_gpu(gpu)).text.partition(" ")[0]
                                      for gpu in ("A100", "H200")}
    return found


@needs_emulated
@pytest.mark.parametrize("op", DECLARED)
def test_four_jumps_lead_from_the_function_to_the_kernel(op: str) -> None:
    facts = Op.registry[op].facts
    family, function = facts.family, inspect.unwrap(facts.explained)
    # 1. The function leads to the op, and is in the file that declares it, or else known to the family's facts alone.
    if not isinstance(function, Op):
        home = ROOT / "convgpu" / "facts" / f"{family}.py" if not hasattr(cg, function.__name__) else DECLARED[op]
        assert inspect.getsourcefile(function) == str(home)
    assert facts.example, f"{op} has no example in convgpu/facts/{family}.py: operands of {function.__name__}"
    assert cg.explain(op, *facts.example, device="cpu").call.op == op
    # 2. The backend's method bears the op's name, in the family's file.
    method = getattr(Native, op)
    assert inspect.getsourcefile(method) == str(ROOT / f"convgpu/backends/native/{family}.py")
    # 3. It calls the launcher of that name, which one file of the family defines.
    assert re.search(rf'self\.\w*launch\w*\(\s*"{op}"', inspect.getsource(method))
    sources = sorted((ROOT / "csrc" / family).rglob("*"))
    assert len([path for path in sources if path.suffix in (".cu", ".cpp") and _says(path, rf"(?m)^void {op}\(")]) == 1
    # 4. The first word of each plan is a kernel, behind the op where a kernel serves several ops; one file defines it.
    assert _kernels(family)[op], f"no case yields {op}"
    for kernel in _kernels(family)[op]:
        plain = {kernel, kernel.removeprefix(f"{op}_"), kernel.removeprefix(f"{facts.kernel or op}_")}
        found = [name for name in _defined(ROOT / "csrc" / family) if name in plain]
        assert len(found) == 1, f"expected one definition of the kernel {kernel} in csrc/{family}, got {found}"


def _defined(folder: Path) -> list[str]:
    """The kernels that the files of a folder define, one entry for each definition."""
    return [name for path in sorted(folder.rglob("*.cuh")) for name in KERNEL.findall(path.read_text("utf-8"))]


@needs_emulated
@pytest.mark.parametrize("family", FAMILIES)
def test_a_case_reaches_every_kernel(family: str) -> None:
    reached = {name for op, kernels in _kernels(family).items() for kernel in kernels
               for name in (kernel, kernel.removeprefix(f"{op}_"))}
    assert set(_defined(ROOT / "csrc" / family)) - PASSES - reached == set()


def test_the_page_of_kernels_names_them_all() -> None:
    table = {name for line in (ROOT / "docs" / "kernels.md").read_text("utf-8").splitlines() if line.startswith("| ")
             for name in re.findall(r"`(\w+)`", line)}
    marks = sum(path.read_text("utf-8").count("__global__ ") for path in (ROOT / "csrc").rglob("*.cu*"))
    assert len(_defined(ROOT / "csrc")) == marks, "KERNEL above does not match every kernel's definition"
    assert set(_defined(ROOT / "csrc")) - table == set(), "the table of docs/kernels.md lacks these"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kernel_stands_in_a_file_of_its_name(family):
    """Others may follow in the same file, but the one that it is named after is there."""
    for path in sorted((ROOT / "csrc" / family).rglob("*.cuh")):
        assert re.search(rf"__global__[^;{{]*\b{path.stem}\(", path.read_text(encoding="utf-8")), path.name


def test_the_library_does_not_import_its_examples() -> None:
    """Only the command does, which runs them."""
    importers = {path.relative_to(ROOT).as_posix() for path in (ROOT / "convgpu").rglob("*.py")
                 if re.search(r"^\s*(from|import) [\w.]*\bexamples\b", path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert {name for name in importers if not name.startswith("convgpu/examples/")} == {"convgpu/cli/__init__.py"}


def test_what_measures_neither_prints_nor_reads_options() -> None:
    """The command does, in convgpu/cli, which the library does not import."""
    for path in (ROOT / "convgpu").rglob("*.py"):
        tree, text = ast.parse(path.read_text("utf-8")), path.read_text("utf-8")
        called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call)
                  and isinstance(node.func, ast.Name)}
        if path.is_relative_to(ROOT / "convgpu" / "benchmark"):
            assert "print" not in called and not re.search(r"\bargparse\b|\bsys\.std", text), path
        if not path.is_relative_to(ROOT / "convgpu" / "cli") and path.name != "__main__.py":
            assert not re.search(r"(?m)^\s*(from|import) [\w.]*\bcli\b", text), path
