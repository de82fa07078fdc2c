"""Flags of checks on the GPU: they are read where the host waits in any case, and raise under the name of their op."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from gpu_device import gpu, stand_in  # noqa: F401 - fixtures

import convgpu as cg
from convgpu import flags
from convgpu import gpu as gpu_module
from convgpu.recorder import Recorder

RULE = "labels in [0, 10)"
LATE = r"classify: expected labels in \[0, 10\), got others; they were found on the GPU"


def raised(value: int) -> object:
    """A flag on the GPU."""
    return sys.modules["cupy"].asarray(np.array([value], np.int32))


def test_on_the_cpu_the_error_is_immediate() -> None:
    flags.check("classify", np.zeros(1, np.int32), RULE)
    with pytest.raises(ValueError, match=r"classify: expected labels in \[0, 10\), got others$"):
        flags.check("classify", np.ones(1, np.int32), RULE)


def test_a_recorder_keeps_flags_as_a_device_does_and_raises_nothing() -> None:
    recorder = Recorder()
    flags.check("classify", recorder.array((1,), "int32"), RULE)
    assert not flags._pending and len(recorder.flags) == 1


@pytest.mark.parametrize("f, op", [
    (lambda labels: cg.cross_entropy(cg.zeros((3, 4), device="gpu"), labels), "cross_entropy: expected labels"),
    (lambda labels: cg.one_hot(labels, 4), "one_hot: expected labels"),
])
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
def test_labels_on_the_gpu_are_checked_without_waiting(gpu, f, op, dtype) -> None:  # noqa: F811
    assert np.isfinite(f(cg.tensor(np.array([0, 3, 1], dtype), device="gpu")).numpy()).all()
    for bad in (4, 100, *([-1] if dtype.startswith("int") else [])):
        y = f(cg.tensor(np.array([0, bad, 1], dtype), device="gpu"))  # raises nothing yet
        with pytest.raises(ValueError, match=rf"{op} in \[0, 4\), got others; they were found on the GPU"):
            y.numpy()


@pytest.mark.parametrize("read", [
    lambda t: t.item(), lambda t: t.numpy(), lambda t: t.tolist(), lambda t: t.to("cpu"), repr, float, bool])
def test_on_the_gpu_it_comes_with_the_next_value_that_is_read(gpu, read) -> None:  # noqa: F811
    x = cg.tensor([1.0], device="gpu")
    flags.check("classify", raised(0), RULE)
    flags.check("classify", raised(1), RULE)
    flags.check("classify", raised(0), RULE)
    y = x * 2  # computing reads nothing
    with pytest.raises(ValueError, match=LATE):
        read(y)
    read(y)  # once


def test_nobody_is_told_twice_and_nothing_is_lost(gpu) -> None:  # noqa: F811
    x = cg.tensor([1.0], device="gpu")
    for op in ("classify", "embed", "look_up"):
        flags.check(op, raised(op != "embed"), RULE)
    with pytest.raises(ValueError, match="classify"):
        x.item()
    with pytest.raises(ValueError, match="look_up"):
        x.item()
    assert x.item() == 1.0 and not flags._pending


def test_a_flag_is_read_in_the_stream_that_writes_it(stand_in) -> None:  # noqa: F811
    stream = sys.modules["cupy"].cuda.Stream
    x = cg.tensor([1.0], device="gpu")
    for op, pointer in (("classify", 0xa), ("embed", 0xb), ("embed", 0xa)):
        with stream(pointer):
            flags.check(op, raised(op == "embed" and pointer == 0xa), RULE)
    with stream(0xc):
        with pytest.raises(AssertionError, match="read in stream 0xc what stream 0xa computes"):
            flags._pending["classify", RULE, 0xa][0].get()
        y = x * 2
        with pytest.raises(ValueError, match="embed: expected labels"):
            y.item()
        assert y.item() == 2.0
    assert not flags._pending and not flags._streams


def test_a_loop_that_reads_nothing_keeps_few_flags(gpu) -> None:  # noqa: F811
    for i in range(1000):
        flags.check("classify", raised(i == 100), RULE)
    assert len(flags._pending["classify", RULE, 0]) <= flags._MANY
    with pytest.raises(ValueError, match=LATE):
        cg.tensor(1.0, device="gpu").item()


def test_synchronised_calls_raise_at_once(gpu, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(gpu_module, "SYNCHRONIZE", True)
    flags.check("classify", raised(0), RULE)
    with pytest.raises(ValueError, match=LATE):
        flags.check("classify", raised(1), RULE)
