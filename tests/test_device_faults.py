"""Device "gpu": too little memory, faults, forks, streams and threads."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import types
from typing import Any

import fake_cupy
import numpy as np
import pytest
from gpu_device import gpu, on_a_real_gpu, quiet, stand_in  # noqa: F401 - fixtures

import convgpu as cg
from convgpu import backends
from convgpu import gpu as gpu_module

pytestmark = pytest.mark.usefixtures("quiet")


# --- memory


def test_when_memory_is_short_the_cache_is_freed_and_the_op_tried_again(stand_in):  # noqa: F811
    x = cg.ones(4, device="gpu")
    stand_in.failing_allocations = 1
    assert (x + 1).tolist() == [2, 2, 2, 2] and stand_in.frees == 1
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match=r"add: too little memory on the GPU \(Out of memory allocating 16 bytes"):
        x + 1
    assert stand_in.frees == 3 and (x + 1).tolist() == [2, 2, 2, 2]
    stand_in.failing_allocations = 2
    stand_in.shortage = fake_cupy.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
    with pytest.raises(MemoryError, match="add: too little memory on the GPU .cudaErrorMemoryAllocation"):
        x + 1
    stand_in.shortage = None
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match="max_pool: too little memory"):
        cg.max_pool(cg.Tensor(x.array.reshape(1, 2, 2, 1)), 2)
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match=r"full: .*allocating 4,000 bytes"):
        cg.zeros(1000, device="gpu")
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match=r"to\('gpu'\): .*allocating 4,000 bytes"):
        cg.tensor(np.zeros(1000, "float32"), device="gpu")


def test_an_optimizer_without_memory_leaves_its_state_alone(stand_in):  # noqa: F811
    adam, p, g = cg.optim.Adam(lr=0.1), cg.ones(3, device="gpu"), cg.ones(3, device="gpu")
    p = adam.step(p, g)
    before = adam.state_dict()["mean"].copy()
    stand_in.failing_allocations = 2  # the step changes no array in place, and so it is tried twice
    with pytest.raises(MemoryError, match="too little memory on the GPU"):
        adam.step(p, g)
    np.testing.assert_array_equal(adam.state_dict()["mean"], before)


@on_a_real_gpu
def test_more_memory_than_there_is():
    x = cg.zeros(1, device="gpu")
    with pytest.raises(MemoryError, match="add: too little memory on the GPU .*allocating"):
        x.broadcast_to((1 << 42,)) + 1
    assert (x + 1).tolist() == [1]


# --- faults


def test_a_fault_names_the_op_and_stays(stand_in, monkeypatch):  # noqa: F811
    x = cg.ones(4, device="gpu")
    stand_in.fault = "cudaErrorIllegalAddress: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="exp: the GPU reported cudaErrorIllegalAddress.* in exp; the fault is in it "
                                           r"or an op before it \(CONVGPU_SYNCHRONIZE=1 tells which\)"):
        cg.exp(x)
    stand_in.fault = None
    for use, name in ((lambda: x + 1, "add"), (x.numpy, r"to\('cpu'\)"),
                      (lambda: cg.zeros(2, device="gpu"), "device 'gpu'"),
                      (lambda: cg.max_pool(x.reshape(1, 2, 2, 1), 2), "reshape"), (lambda: bool(x), r"to\('cpu'\)")):
        with pytest.raises(RuntimeError, match=f"{name}: .*IllegalAddress.* in exp; .*start a new one"):
            use()
    assert cg.ones(2).tolist() == [1, 1]


def test_a_fault_found_while_waiting(stand_in):  # noqa: F811
    x = cg.ones(4, device="gpu")
    stand_in.fault = "cudaErrorLaunchFailure"
    with pytest.raises(RuntimeError, match=r"to\('cpu'\): the GPU reported cudaErrorLaunchFailure"):
        x.tolist()


def test_an_error_that_leaves_the_gpu_alive_does_not_stay(stand_in, monkeypatch):  # noqa: F811
    def refuse(*args: Any) -> None:
        raise RuntimeError("launch: invalid configuration argument")

    x = cg.ones((1, 2, 2, 1), device="gpu")
    with monkeypatch.context() as patch:
        patch.setattr(backends.load("cuda"), "max_pool", refuse)
        with pytest.raises(RuntimeError, match="^launch: invalid configuration argument$"):
            cg.max_pool(x, 2)
    assert cg.max_pool(x, 2).item() == 1


def test_synchronize_waits_after_every_op(stand_in, monkeypatch):  # noqa: F811
    x = cg.ones(4, device="gpu")
    count = stand_in.synchronizations
    x + 1
    assert stand_in.synchronizations == count
    monkeypatch.setattr(gpu_module, "SYNCHRONIZE", True)
    x + 1
    assert stand_in.synchronizations == count + 1
    stand_in.fault = "cudaErrorIllegalAddress"
    with pytest.raises(RuntimeError, match="in add; the fault is in it, and the GPU is lost"):
        x + 1


def test_synchronize_is_read_from_the_environment():
    program = "from convgpu import gpu; print(gpu.SYNCHRONIZE)"
    for value, expected in (("1", "True"), ("0", "False")):
        done = subprocess.run([sys.executable, "-c", program], env={"CONVGPU_SYNCHRONIZE": value}, capture_output=True,
                              text=True, timeout=60)
        assert done.stdout.strip() == expected, done.stderr


@on_a_real_gpu
def test_a_kernel_that_writes_where_it_may_not():
    program = """if True:
        import cupy, convgpu as cg
        x = cg.ones(4, device="gpu")
        cupy.RawKernel('extern "C" __global__ void f(float* p) { p[threadIdx.x] = 0; }', "f")((1,), (1,), (0,))
        for _ in range(2):
            try:
                (x + 1).numpy()
            except RuntimeError as error:
                assert "the GPU is lost to this process: start a new one" in str(error), error
                print("lost")"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["lost", "lost"], done.stderr


def _use_gpu(connection: Any) -> None:
    try:
        connection.send(cg.zeros(2, device="gpu").tolist())
    except RuntimeError as error:
        connection.send(str(error))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_is_told_to_spawn(gpu, monkeypatch):  # noqa: F811
    fork = multiprocessing.get_context("fork")

    def ask() -> Any:
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=_use_gpu, args=(sender,))
        child.start()
        answer = receiver.recv() if receiver.poll(60) else "no answer"
        child.join(60)
        return answer

    if gpu != "cuda":
        monkeypatch.setattr(gpu_module, "_touched", False)
        assert ask() == [0, 0]  # nothing had touched the GPU: a child may
    cg.zeros(1, device="gpu")
    assert "device 'gpu': this process was forked from one that had used the GPU" in ask() and "use spawn" in ask()
    assert cg.zeros(2, device="gpu").tolist() == [0, 0]


# --- streams and threads


def test_kernels_run_in_the_current_stream(stand_in, monkeypatch):  # noqa: F811
    native = backends.load("cuda")
    streams = []

    def max_pool(*args: Any) -> None:
        streams.append(args[-1])
        emulated.max_pool(*args)

    emulated = native.module
    names = {name: getattr(emulated, name) for name in dir(emulated) if not name.startswith("_")}
    monkeypatch.setattr(native, "module", types.SimpleNamespace(**names | {"max_pool": max_pool}))
    x = cg.ones((1, 2, 2, 1), device="gpu")
    cg.max_pool(x, 2)
    with fake_cupy.cuda.Stream(0xabc):
        cg.max_pool(x, 2)
    assert streams == [0, 0xabc]


@on_a_real_gpu
def test_work_in_a_stream_of_ones_own():
    stream = sys.modules["cupy"].cuda.Stream(non_blocking=True)
    with stream:
        y = cg.avg_pool(cg.ones((4, 64, 64, 8), device="gpu") * 2, 2)
        stream.synchronize()
    assert (y.numpy() == 2).all()


def test_threads(gpu):  # noqa: F811
    x = cg.tensor(np.random.default_rng(0).standard_normal((2, 5, 6, 3)), device="gpu")
    expected = cg.max_pool(cg.tanh(x), 2).tolist()
    got: list[Any] = [None] * 8

    def work(i: int) -> None:
        for _ in range(5):
            got[i] = cg.max_pool(cg.tanh(x), 2).tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(g == expected for g in got)
