"""Backend "ptx": what nvcc makes of every kernel, in every dtype, against float64 and against the emulator's bits."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import each_kernel
import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import backends, info, verify
from convgpu.cases.problem import Judge, as_results
from convgpu.cases.tolerance import C_KERNEL, C_TF32
from convgpu.facts import FAMILIES
from convgpu.ptx import KernelError

BUILT = importlib.util.find_spec("convgpu._ptx_kernels") is not None or os.environ.get("CONVGPU_PTX") == "1"

# Plans are made by the emulated module, which says which kernels there are.
pytestmark = [pytest.mark.skipif(not BUILT, reason="convgpu._ptx_kernels was not built (CONVGPU_PTX=1 builds it)"),
              needs_emulated]


@pytest.fixture
def run() -> Any:
    return backends.load("ptx")


def results_of(backend: str, small: each_kernel.Small, arrays: tuple[Any, ...]) -> list[np.ndarray]:
    with each_kernel.on_its_gpu(backend, small) as native:
        return [np.array(a) for a in as_results(small.problem.run(native, arrays))]


@pytest.mark.parametrize("gpu", each_kernel.GPUS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_kernel_in_each_dtype(run: Any, family: str, gpu: str) -> None:
    """Within the bound, and no finding of the machine, which would raise."""
    if {"A100": "sm_80"}.get(gpu, "sm_90a") not in run.module.targets():
        pytest.skip(f"there is no PTX for {gpu} in this build")
    for small in each_kernel.problems(family, gpu):
        if gpu == "H200" and each_kernel.tiled_products(small.problem.call) > each_kernel.SMALL[0]:
            continue  # the same kernel has a smaller problem on one multiprocessor
        where = f"{small.kernel}, {small.problem.name}, {small.problem.call.shapes}"
        arrays = small.problem.operands()
        results = results_of("ptx", small, arrays)
        units = Judge(small.problem, C_KERNEL + C_TF32 * (small.precision == "tf32")).error(results)
        assert units <= 1, f"{where}: {units:.3g} times the bound"


def test_the_host_code_is_that_of_a_gpu(run: Any) -> None:
    """Plans of the module are those of the emulated one, and launches are counted."""
    emulated, before = backends.load("emulated"), run.module.launches()
    for family in ("pool", "gemm"):
        for small in each_kernel.problems(family, "A100"):
            plans = []
            for native in (emulated, run):
                with each_kernel.on_its_gpu(native.name, small):
                    plans.append(each_kernel.plan(native, small))
            assert plans[0] == plans[1]
    assert run.module.launches() == before
    x = np.ones((2, 3, 4, 5), np.float32)
    run.nchw_to_nhwc(x)
    assert run.module.launches() == before + 1


def test_what_a_kernel_may_touch(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones((2, 3, 40, 5), np.float32)
    allow = run._allow_bytes
    monkeypatch.setattr(run, "_allow_bytes", lambda address, shape, strides, *rest: allow(
        address, (*shape[:-1], shape[-1] - 1), strides, *rest))
    with pytest.raises(KernelError, match="bounds: ") as caught:
        run.nchw_to_nhwc(x)
    finding = caught.value.report.findings[0]
    assert finding.kind == "bounds" and "transpose" in finding.kernel and finding.address.startswith("nchw_to_nhwc[")
    monkeypatch.undo()
    monkeypatch.setattr(run, "_allow_bytes", lambda *rest: allow(*rest[:-1], False))
    with pytest.raises(KernelError, match="read-only: "):
        run.nchw_to_nhwc(x)
    monkeypatch.undo()
    assert (run.nchw_to_nhwc(x) == 1).all()  # what went wrong before is not told again


def test_a_launch_forgets_its_arrays(run: Any) -> None:
    x = np.ones((2, 3, 4, 5), np.float32)
    run.nchw_to_nhwc(x)
    y = np.zeros((2, 4, 5, 3), np.float32)
    plan = run.module.plan_layout("nchw_to_nhwc", x.shape, "float32")
    tuples = [(a.ctypes.data, a.shape, a.strides, "float32") for a in (x, y)]
    with pytest.raises(RuntimeError, match="launch: .*transpose.*: bounds: "):
        run.module.nchw_to_nhwc(*tuples, plan, 0)
    run.module.take_report()


def test_gpus_that_no_ptx_runs_on(run: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a GPU that runs PTX for .*, got compute capability 7.5"):
        run.module.emulate(run.module.Device(75, 40, 64 << 10))


@pytest.mark.parametrize("variable, value", [
    ("CONVGPU_PTX_RACES", "maybe"), ("CONVGPU_PTX_COPY", "early"), ("CONVGPU_PTX_SEED", "-1"),
    ("CONVGPU_PTX_WORKERS", "0")])
def test_settings_from_the_environment(run: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"{variable}: expected .*, got {value}"):
        verify.verify("ptx", ["layout"], cases=["2x3x5x7"])


@pytest.mark.parametrize("variable, value", [
    ("CONVGPU_PTX_RACES", "no"), ("CONVGPU_PTX_COPY", "random"), ("CONVGPU_PTX_SEED", "7"),
    ("CONVGPU_PTX_WORKERS", "1")])
def test_results_depend_on_no_setting(run: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    smalls = [small for small in each_kernel.problems("conv", "A100") if small.kernel.endswith("_tiled")][:6]
    assert smalls
    before = [results_of("ptx", small, small.problem.operands()) for small in smalls]
    monkeypatch.setenv(variable, value)
    try:
        run.configure()
        for small, expected in zip(smalls, before):
            got = results_of("ptx", small, small.problem.operands())
            assert [a.tobytes() for a in got] == [a.tobytes() for a in expected], small.kernel
    finally:
        monkeypatch.undo()
        run.configure()


def test_tensors_and_gradients_on_the_backend() -> None:
    x = np.random.default_rng(0).standard_normal((1, 6, 7, 3)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((3, 3, 3, 4)).astype(np.float32)
    gradients = {}
    for backend in ("ptx", "reference"):
        with cg.use_backend(backend):
            value, gradients[backend] = cg.value_and_grad(
                lambda w: cg.max_pool(cg.relu(cg.conv(cg.tensor(x), w)), 2).sum())(cg.tensor(w))
    np.testing.assert_allclose(gradients["ptx"].numpy(), gradients["reference"].numpy(), rtol=1e-5, atol=1e-5)


def test_verify_and_info(run: Any) -> None:
    report = verify.verify("ptx", ["layout"], quick=True)
    assert report.passed(["layout"]), str(report)
    assert f"ptx built (nvcc {run.module.NVCC}, {' and '.join(run.module.targets())})" in info.report()
    assert run.module.NVCC[0].isdecimal() and set(run.module.targets()) <= {"sm_80", "sm_90a"}
