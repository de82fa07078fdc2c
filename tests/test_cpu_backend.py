"""Backend "cpu" as a whole: the bits of every op at any number of threads and by every instruction set, what NumPy
computes for it, and what a long call leaves behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from native_backends import needs_cpu
from test_cpu_kernels import sets

import convgpu as cg
from convgpu.backends import load
from convgpu.backends.cpu import BY_NUMPY
from convgpu.benchmark.problems import call_problems
from convgpu.facts import FAMILIES

pytestmark = needs_cpu

DTYPES = ("float64", "float32", "float16", "bfloat16")
OPS = sorted(name for family in FAMILIES.values() for name in family.ops)

# Problems of many tiles beside the example that the facts of each op have: odd sizes, and what has kernels of its own.
CALLS = (
    ("conv2d", [(4, 30, 29, 48), (3, 3, 48, 70), (70,)], {"padding": 1, "activation": "relu"}),
    ("conv2d", [(4, 61, 59, 3), (7, 7, 3, 40)], {"stride": 2, "padding": 3}),
    ("conv2d", [(3, 24, 30, 29), (36, 8, 3, 3)], {"groups": 3, "data_format": "channels_first"}),
    ("conv2d", [(64, 7, 7, 512), (1, 1, 512, 130)], {}),
    ("conv1d", [(2, 2000, 16), (9, 16, 33)], {"dilation": 4}),
    ("conv3d", [(2, 9, 10, 11, 16), (3, 3, 3, 16, 24)], {"padding": "same", "stride": 2}),
    ("depthwise_conv2d", [(4, 40, 41, 37), (3, 3, 37, 1)], {"padding": 1}),
    ("depthwise_conv2d", [(4, 40, 41, 16), (5, 5, 16, 2)], {"stride": 2}),
    ("max_pool2d", [(4, 61, 59, 37), 3], {"stride": 2, "padding": 1}),
    ("avg_pool2d", [(4, 40, 61, 59), 2], {"data_format": "channels_first"}),
    ("global_avg_pool2d", [(8, 61, 59, 37)], {}),
    ("linear", [(300, 500), (500, 90), (90,)], {"activation": "tanh"}),
    ("matmul", [(3, 300, 500), (3, 500, 90)], {}),
    ("softmax", [(50, 7, 1001)], {}),
)


def smaller(operands):
    """The example of an op, with a few images where it has hundreds."""
    return [(4, 30, 29, o[-1]) if isinstance(o, tuple) and len(o) == 4 and o[0] >= 32 else o for o in operands]


def problems_of(op, dtype):
    """The example of the op, and its calls in the table."""
    found = call_problems(op, smaller(cg.Op.registry[op].facts.example), {}, dtype)
    for name, operands, options in CALLS:
        found += [p for p in call_problems(name, operands, options, dtype, gradients=True) if p.op == op]
    return found


@pytest.fixture
def threads():
    before = cg.get_num_threads()
    yield cg.set_num_threads
    cg.set_num_threads(before)


def digests(op, dtype):
    """The results of each of the op's problems, in few bytes."""
    run = load("cpu")
    found = {}
    for problem in problems_of(op, dtype):
        results = problem.run(run, problem.operands())
        results = results if isinstance(results, tuple) else (results,)
        found[problem.layer] = hashlib.sha256(b"".join(np.asarray(r).tobytes() for r in flat(results))).hexdigest()
    return found


def flat(results):
    """The arrays of a result, which may hold lists of arrays."""
    for r in results:
        if isinstance(r, (list, tuple)):
            yield from flat(r)
        elif r is not None:
            yield r


@pytest.mark.parametrize("op, dtype", [(op, dtype) for op in OPS for dtype in DTYPES
                                       if (op, dtype) != ("cast_all", "bfloat16")])  # its example casts to bfloat16
def test_any_number_of_threads_gives_the_same_bits(op, dtype, threads):
    threads(1)
    right = digests(op, dtype)
    assert right
    for count in (2, 3, 7) if dtype == "float32" else (3,):
        threads(count)
        assert digests(op, dtype) == right, count


# --- every instruction set, as users choose it


@pytest.mark.parametrize("name", sets())
def test_the_instruction_set_of_the_environment_is_right(name):
    """Each family's cases at intervals, in a process of its own."""
    cases = [case.name for family in FAMILIES.values() for case in family.cases][::11]
    chosen = [word for case in cases for word in ("--case", case)]
    done = subprocess.run([sys.executable, "-m", "convgpu", "verify", "--backend", "cpu", "--quick", *chosen],
                          env={**os.environ, "CONVGPU_CPU_ISA": name}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_the_bits_of_an_instruction_set_are_those_of_the_variable():
    code = ("import sys; sys.path[:0] = [{tests!r}]\nfrom test_cpu_backend import digests\n"
            "print(digests('conv_fprop', 'float32') == digests('conv_fprop', 'float32'))")
    done = subprocess.run([sys.executable, "-c", code.format(tests=os.path.dirname(__file__))], text=True,
                          env={**os.environ, "CONVGPU_CPU_ISA": "plain"}, capture_output=True)
    assert done.stdout.strip() == "True", done.stderr


# --- arrays that no kernel takes


ODD = ("bool", "int8", "uint16", "int32", "uint64", "longdouble", ">f4", ">f8", "complex64")


@pytest.mark.parametrize("op", sorted(set(OPS) - set(BY_NUMPY)))
@pytest.mark.parametrize("dtype", ODD)
def test_numpy_answers_for_arrays_that_no_kernel_takes(op, dtype):
    """Its result, or its error."""
    example = [tuple(min(n, 5) for n in o) if isinstance(o, tuple) else o for o in cg.Op.registry[op].facts.example]
    if op.startswith(("conv", "channel")):
        sizes = [(2, 6, 5, 3), (3, 3, 3, 4), *[(4,)] * 9]  # of conv_norm's statistics, too
        example = [size if isinstance(o, tuple) else o for o, size in zip(example, sizes)]
    problem = call_problems(op, example, {}, "float32")[0]
    operands = [a if a is None or a.dtype != np.float32 else (4 * a).astype(dtype) for a in problem.operands()]
    results = []
    for backend in ("numpy", "cpu"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made = problem.run(load(backend), tuple(operands))
                made = list(flat(made if isinstance(made, tuple) else (made,)))
            except Exception as error:
                made = type(error)
        results.append(made)
    expected, got = results
    if isinstance(expected, type):
        assert got is expected
        return
    assert [(r.dtype, r.shape) for r in got] == [(r.dtype, r.shape) for r in expected]
    assert [r.tolist() for r in got] == [r.tolist() for r in expected] or any(r.dtype.kind in "fc" for r in got)
    for a, b in zip(got, expected):
        if a.dtype.kind in "fc":
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_pooling_of_integers_needs_no_other_backend():
    x = np.arange(2 * 6 * 5 * 3).reshape(2, 6, 5, 3)
    y, indices = cg.max_pool2d(x, 2, return_indices=True)
    assert y.dtype == np.int64 and y.tolist() == x[:, 1::2, 1:4:2].tolist()
    assert indices[0, 0, 0, 0].item() == 6
    assert cg.matmul(x[0], x[0].transpose(0, 2, 1)).dtype == np.int64


# --- values at the edges of a format, and arrays that must stay as they are


def test_subnormal_numbers_are_not_flushed():
    tiny = np.float32(1e-42)
    x = np.full((1, 8, 8, 16), tiny)
    w = np.zeros((3, 3, 16, 16), np.float32)
    w[1, 1] = np.eye(16)
    assert (cg.conv2d(x, w, padding=1).numpy() == tiny).all()
    assert (cg.max_pool2d(x, 2).numpy() == tiny).all() and (cg.avg_pool2d(x, 2).numpy() == tiny).all()
    assert (cg.linear(x[0, 0], np.eye(16, dtype=np.float32)).numpy() == tiny).all()


def test_nan_and_inf_raise_no_warning():
    x = np.full((2, 6, 6, 4), np.nan, np.float32)
    x[0] = np.inf
    with warnings.catch_warnings(), np.errstate(all="raise"), cg.use_backend("cpu"):
        warnings.simplefilter("error")
        for y in (cg.conv2d(x, np.ones((3, 3, 4, 2), np.float32)), cg.max_pool2d(x, 2), cg.avg_pool2d(x, 2),
                  cg.linear(x, np.ones((4, 3), np.float32))):
            assert np.isinf(y[0].numpy()).all() and np.isnan(y[1].numpy()).all()


def test_inputs_may_be_read_only_and_share_memory():
    memory = np.random.default_rng(0).standard_normal(2 * 6 * 6 * 4).astype(np.float32)
    memory.flags.writeable = False
    before = memory.copy()
    x, w = memory.reshape(2, 6, 6, 4), memory[:3 * 3 * 4 * 4].reshape(3, 3, 4, 4)
    y = cg.conv2d(x, w)
    np.testing.assert_array_equal(y.numpy(), cg.conv2d(x.copy(), w.copy()).numpy())
    cg.max_pool2d(x, 2), cg.linear(x, x[0, 0, :4])
    np.testing.assert_array_equal(memory, before)


# --- interrupted


@pytest.mark.skipif(os.name == "nt", reason="this system has no SIGINT for one process")
def test_an_interrupt_ends_the_program_after_the_op_that_runs():
    """KeyboardInterrupt comes between two calls of the module; the pool of threads goes on as before."""
    code = """
import numpy as np, convgpu as cg
cg.set_num_threads(3)
x, w = np.ones((8, 56, 56, 64), np.float32), np.ones((3, 3, 64, 64), np.float32)
right = cg.conv2d(x, w).numpy()
print("runs", flush=True)
try:
    while True:
        cg.conv2d(x, w)
except KeyboardInterrupt:
    assert (cg.conv2d(x, w).numpy() == right).all()
    print("interrupted", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "runs\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n" and process.returncode == 0
