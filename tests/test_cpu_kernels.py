"""The kernels that are written for the CPU: the bits at any number of threads and in a forked child, every instruction
set, arrays as they lie, memory, and what the module refuses. The tests of each family run the tables of cases too."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import sanitized
from conv_checks import check
from native_backends import needs_cpu

import convgpu as cg
from convgpu import geometry, verify
from convgpu.backends import load
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.benchmark.watched import watched
from convgpu.cases.conv import CASES
from convgpu.cases.tolerance import C_KERNEL
from convgpu.facts import FAMILIES

pytestmark = needs_cpu

ROOT = Path(__file__).parent.parent
FORMATS = ("channels_last", "channels_first")
DTYPES = ("float64", "float32", "float16", "bfloat16")


@pytest.fixture
def run():
    return load("cpu")


@pytest.fixture
def module(run):
    yield run.module
    run.module.use_instruction_set("")


@pytest.fixture
def threads():
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)


def normal(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(cg.dtypes.as_dtype(dtype))


def geo_of(x, w, data_format="channels_last", **options):
    return geometry.conv_geometry("test", x.shape, w.shape, options.get("stride", 1), options.get("padding", 1),
                                  options.get("dilation", 1), options.get("groups", 1), data_format)


def everything(run, dtype="float32"):
    """The results of every op on problems of many tiles, some of which are cut into segments."""
    results = []
    for channels, filters, groups, stride in ((3, 40, 1, 2), (48, 70, 1, 1), (32, 32, 32, 1), (24, 36, 3, 2)):
        x, w = normal(4, 30, 29, channels, dtype=dtype), normal(3, 3, channels // groups, filters, seed=1, dtype=dtype)
        geo = geo_of(x, w, groups=groups, stride=stride)
        gy = normal(*geo.y_shape, seed=2, dtype=dtype)
        results += [run.conv_fprop(x, w, None, geo, "relu"), run.conv_dgrad(gy, w, None, geo, None),
                    run.conv_wgrad(x, gy, geo), run.channel_sum(gy, True)]
        pool = geometry.pool_geometry("test", x.shape, 3, 2, 1, 1, False, False, "channels_last")
        y, offsets = run.max_pool(x, pool, True)
        results += [y, offsets, run.max_pool_dgrad(y, offsets, pool), run.avg_pool(x, pool),
                    run.avg_pool_dgrad(y, pool), run.lp_pool(x, pool, 2.0)]
    results += [r for case in everything_between(run, dtype) for r in case]
    a, b = normal(3, 300, 500, dtype=dtype), normal(3, 500, 90, seed=3, dtype=dtype)
    return [*results, run.matmul(a, b), run.gemm(a[0], b[0], None, 1.0, 0.0, False, False, None)]


def everything_between(run, dtype):
    """The results of normalisation, softmax, cross-entropy and reductions, of sizes that take several tiles each."""
    for shape, channel, groups in (((9, 31, 30, 19), 3, None), ((5, 700, 6, 7), 1, None), ((40000, 3), 1, None),
                                   ((7, 3, 90, 85), 1, None), ((3, 50, 50, 24), 3, 4), ((4, 24, 40, 40), 1, 3),
                                   ((900, 301), None, None)):
        x, gy = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
        geo = (geometry.layer_norm_geometry(shape, 1) if channel is None
               else geometry.batch_norm_geometry(shape, channel) if groups is None
               else geometry.group_norm_geometry(shape, channel, groups))
        wide = cg.dtypes.accumulator(x.dtype)
        scale, offset = normal(geo.channels, seed=2).astype(wide), normal(geo.channels, seed=3).astype(wide)
        mean, rstd, *_ = run.norm_stats(x, None, None, geo, 1e-5, 0.9, 1)
        y = run.norm_apply(x, mean, rstd, scale, offset, geo, "relu")
        yield mean, rstd, y, run.norm_apply_add(x, mean, rstd, scale, offset, gy, geo, "relu6")
        yield run.norm_dgrad(gy, x, mean, rstd, scale, offset, None, geo, "silu", (True, True, True, False))[:3]
        yield run.norm_dgrad(gy, x, mean, rstd, scale, offset, y, geo, "relu", (True,) * 4)
        axis = 1 if channel in (1, None) else 3
        labels = np.arange(x.size // x.shape[axis]).reshape(shape[:axis] + shape[axis + 1:]) % x.shape[axis]
        p = run.softmax(x, axis, False)
        loss, statistics, flag = run.cross_entropy(x, labels, axis, 0.1, "mean")
        yield p, run.softmax_dgrad(gy, p, axis, False), run.softmax(x, axis, True), loss, statistics, flag
        yield run.cross_entropy_dgrad(x, labels, statistics, np.ones((), wide), axis, 0.1, "mean"),
        for axes in ((0,), (len(shape) - 1,), tuple(range(len(shape))), tuple(range(0, len(shape), 2))):
            yield tuple([run.reduce(x, f, axes, False, shape) for f in ("sum", "mean", "max", "min")])


def digest(results):
    return hashlib.sha256(b"".join(r.tobytes() for r in results)).hexdigest()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(run, threads, dtype):
    threads(1)
    one = everything(run, dtype)
    for count in (2, 3, 7, 64):
        threads(count)
        for ours, right in zip(everything(run, dtype), one, strict=True):
            assert ours.tobytes() == right.tobytes(), count


def test_many_threads_of_python_at_once_give_the_same_bits(run, threads):
    threads(3)
    right, found = digest(everything(run)), []
    workers = [threading.Thread(target=lambda: found.append(digest(everything(run)))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [right] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork a process")
def test_a_forked_child_computes_with_threads_of_its_own(run, threads):
    threads(4)
    right = digest(everything(run))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, digest(everything(run)).encode())
        os._exit(0)
    assert os.read(read, 64).decode() == right
    assert os.waitpid(child, 0)[1] == 0
    assert digest(everything(run)) == right


def _digest_of_child(_):
    return digest(everything(load("cpu")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork a process")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_workers_of_multiprocessing_compute_after_their_parent_has(run, threads):
    """Two at once, each of which starts a pool of its own, and then the parent again."""
    threads(3)
    right = digest(everything(run))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_digest_of_child, range(4), 1).get(timeout=300) == [right] * 4
    assert digest(everything(run)) == right


def test_another_process_computes_the_same_bits(run):
    code = ("from test_cpu_kernels import digest, everything\nfrom convgpu.backends import load\n"
            "print(digest(everything(load('cpu'))))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "CONVGPU_NUM_THREADS": "5"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == digest(everything(run))


# --- the tables of cases, in guarded memory and against protected pages


@pytest.mark.parametrize("family", FAMILIES)
def test_verify(family):
    """Dense convolutions have a suite of their own, test_conv_kernels.py, which runs more of them."""
    cases = [case.name for case in FAMILIES[family].cases]
    report = verify.verify("cpu", [family], quick=True, cases=cases[::4] if family == "conv" else cases)
    if family in report.absent:
        pytest.skip(f"{family} has no kernels for the CPU")
    assert report.passed([family]), str(report)


# --- every instruction set


def sets():
    return load("cpu").module.instruction_sets() if importlib.util.find_spec("convgpu._cpu") else ["plain"]


@pytest.mark.parametrize("name", sets())
def test_every_instruction_set_stays_within_the_bound(module, name):
    module.use_instruction_set(name)
    assert module.instruction_set() == name
    with cg.use_backend("cpu"):
        for i, case in enumerate(CASES):
            if i % 7 == 0 and "long" not in case.tags:
                check(case, DTYPES[i // 7 % 4], FORMATS[i // 28 % 2], C_KERNEL)


@pytest.mark.parametrize("name", ["v5", "sse"])
def test_an_instruction_set_that_is_not_there_is_refused(name):
    code = "import convgpu; convgpu.backends.load('cpu').module.instruction_set()"
    done = subprocess.run([sys.executable, "-c", code],
                          env={**os.environ, "CONVGPU_CPU_ISA": name}, capture_output=True, text=True)
    assert done.returncode != 0
    assert re.search(rf"CONVGPU_CPU_ISA: expected an instruction set that this machine has \(.*plain\), got {name}",
                     done.stderr)


def test_the_environment_chooses_the_instruction_set():
    done = subprocess.run([sys.executable, "-m", "convgpu", "info"], env={**os.environ, "CONVGPU_CPU_ISA": "plain"},
                          capture_output=True, text=True)
    assert "cpu built (instruction set plain of " in done.stdout


# --- arrays as they lie


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
def test_views_are_read_where_they_lie(run, dtype, data_format):
    last = data_format == "channels_last"
    big = normal(5, 14, 15, 16, dtype=dtype)
    views = [big[::2, 1:-1, ::-1], big[1:4, ::2, 3:, :8], big.transpose(0, 2, 1, 3), np.moveaxis(big, 3, 1),
             np.broadcast_to(big[:1], big.shape), big[..., ::2]]
    for x in views:
        channels = x.shape[-1 if last else 1]
        w = normal(3, 3, channels, 9, seed=1, dtype=dtype)[::-1] if last else normal(
            9, channels, 3, 3, seed=1, dtype=dtype)[..., ::-1]
        geo = geo_of(x, w, data_format)
        gy = normal(*geo.y_shape[:-1], 2 * geo.y_shape[-1], seed=2, dtype=dtype)[..., ::2]
        whole = [np.ascontiguousarray(a) for a in (x, w, gy)]
        for op, ours, theirs in (("conv_fprop", (x, w, None, geo, None), (whole[0], whole[1], None, geo, None)),
                                 ("conv_dgrad", (gy, w, None, geo, None), (whole[2], whole[1], None, geo, None)),
                                 ("conv_wgrad", (x, gy, geo), (whole[0], whole[2], geo))):
            got, expected = getattr(run, op)(*ours), getattr(load("reference"), op)(*theirs)
            tolerance = {"float64": 1e-12, "float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-1}[dtype]
            np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol=tolerance,
                                       atol=20 * tolerance)


def test_addresses_that_suit_no_element_are_copied(run):
    raw = np.zeros(4 * 6 * 6 * 3 + 1, np.uint8)
    x = raw[1:].view(np.float32).reshape(1, 6, 6, 3)
    x[...] = normal(1, 6, 6, 3)
    w = normal(3, 3, 3, 4, seed=1)
    assert not x.flags.aligned
    np.testing.assert_array_equal(run.conv_fprop(x, w, None, geo_of(x, w), None),
                                  run.conv_fprop(x.copy(), w, None, geo_of(x, w), None))


def test_another_byte_order_is_refused(run, module):
    x, w = normal(1, 6, 6, 3), normal(3, 3, 3, 4)
    geo, y = run.geometry(geo_of(x, w)), np.empty((1, 6, 6, 4), np.float32)
    with pytest.raises(TypeError, match="expected this machine's byte order, got >f4"):
        module.conv_fprop(x.astype(">f4"), w, None, y, geo, "", 1)


def test_what_does_not_fit_is_refused(run, module):
    x, w = normal(1, 6, 6, 3), normal(3, 3, 3, 4)
    geo = run.geometry(geo_of(x, w))
    y = np.empty((1, 6, 6, 4), np.float32)
    with pytest.raises(ValueError, match=r"conv_fprop: expected x of shape \(1, 6, 6, 3\), got \(1, 6, 5, 3\)"):
        module.conv_fprop(x[:, :, :5], w, None, y, geo, "", 1)
    with pytest.raises(TypeError, match="conv_fprop: expected w of dtype float32, got float64"):
        module.conv_fprop(x, w.astype(np.float64), None, y, geo, "", 1)
    with pytest.raises(ValueError, match="activation: expected relu, sigmoid, tanh or nothing, got gelu"):
        module.conv_fprop(x, w, None, y, geo, "gelu", 1)


def test_the_backend_is_the_default_where_it_is_built():
    assert cg.current_backend() == "cpu"
    with cg.use_backend("numpy"):
        assert cg.current_backend() == "numpy"
    with watched("cpu") as seen:
        x = cg.tensor(normal(2, 8, 8, 4), requires_grad=True)
        w = cg.tensor(normal(3, 3, 4, 5), requires_grad=True)
        cg.conv2d(x, w, padding="same", activation="relu").sum().backward()
        assert x.grad.shape == x.shape and w.grad.shape == w.shape
    assert seen.flops


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_gradients_of_convolutions_meet_at_their_image(dtype):
    """The second gradient is computed on top of the first."""
    def gradient(dtype):
        x = cg.tensor(normal(2, 7, 7, 6)).astype(dtype).detach().requires_grad_()
        ws = [cg.tensor(normal(3, 3, 3, 8)).astype(dtype), cg.tensor(normal(1, 1, 6, 5)).astype(dtype)]
        y = cg.conv2d(cg.conv2d(x, ws[0], padding="same", stride=2, groups=2), cg.ones((4, 4, 8, 5), dtype=dtype))
        y = y + cg.conv2d(cg.conv2d(x, ws[1]), cg.ones((7, 7, 5, 5), dtype=dtype))
        y.backward(cg.ones(y.shape, dtype=dtype))
        return x.grad.astype("float64").numpy()

    with cg.use_backend("cpu"):
        got = gradient(dtype)
    with cg.use_backend("reference"):
        expected = gradient(dtype)
    np.testing.assert_allclose(got, expected, atol=float(ml_dtypes.finfo(dtype).eps) * 4 * np.abs(expected).max())


def test_explain_says_how_the_backend_in_use_computes():
    with cg.use_backend("cpu"):
        for op, operands, options, text in (
                ("conv2d", ((2, 9, 9, 64), (3, 3, 64, 64)), {}, "rows by pointers into the image"),
                ("conv2d", ((2, 9, 9, 3), (3, 3, 3, 64)), {}, "each row of taps one run"),
                ("conv_dgrad", ((2, 9, 9, 3), (3, 3, 3, 64)), {"stride": 2}, "scattered to the windows"),
                ("conv_wgrad", ((2, 9, 9, 3), (3, 3, 3, 64)), {}, "all taps and channels at once"),
                ("conv_wgrad", ((2, 9, 9, 64), (3, 3, 64, 64)), {}, "runs of pixels per tap"),
                ("conv_dgrad", ((2, 9, 9, 64), (3, 3, 64, 64)), {"stride": 2}, "phase by phase of the stride"),
                ("depthwise_conv2d", ((2, 9, 9, 8), (3, 3, 8, 1)), {}, "depthwise, a vector of channels at a time"),
                ("max_pool2d", ((2, 9, 9, 8), 2), {}, "windows, a vector of channels at a time")):
            assert text in str(cg.explain(op, *operands, device="cpu", **options)), op
        assert "numpy: " in str(cg.explain("max_pool2d", (2, 9, 9, 8), 2, dtype="int32", device="cpu"))
        assert "backend     cpu (instruction set " in str(cg.explain("linear", (2, 3), (3, 4), device="cpu"))
    with cg.use_backend("numpy"):
        assert "im2col" in str(cg.explain("conv2d", (2, 9, 9, 64), (3, 3, 64, 64), device="cpu"))


# --- memory


@pytest.mark.parametrize(("x", "w", "options"), [
    ((64, 56, 56, 64), (3, 3, 64, 64), {}), ((64, 64, 56, 56), (64, 64, 3, 3), {"data_format": "channels_first"}),
    ((2, 7, 7, 2048), (7, 7, 2048, 1024), {"padding": 0}), ((1, 20000, 64), (501, 64, 64), {"padding": 250})],
    ids=["batch of 64", "channels first", "filters of 400 MB", "a long filter"])
def test_a_call_takes_at_most_64_mb(x, w, options):
    """In a process of its own, whose largest size is compared with what the arrays take."""
    code = f"""
import resource, numpy as np
from test_cpu_kernels import geo_of
from convgpu.backends import load
from convgpu.backends.numpy.workers import set_num_threads
set_num_threads(8)
run, x, w = load("cpu"), np.ones({x}, np.float32), np.ones({w}, np.float32)
geo = geo_of(x, w, **{options})
gy = np.ones(geo.y_shape, np.float32)
for call, out in ((lambda: run.conv_fprop(x, w, None, geo, None), gy),
                  (lambda: run.conv_dgrad(gy, w, None, geo, None), x),
                  (lambda: run.conv_wgrad(x, gy, geo), w)):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - out.nbytes
    print(grown)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"})
    assert done.returncode == 0, done.stderr
    grown = [int(line) for line in done.stdout.split()]
    assert len(grown) == 3 and max(grown) <= 64 << 20, grown


# --- products


@pytest.mark.parametrize("shapes", [((5, 3, 4), (4, 6)), ((5, 3, 4), (5, 4, 6)), ((2, 1, 3, 4), (1, 5, 4, 6)),
                                    ((3, 4), (7, 4, 6)), ((0, 3, 4), (4, 6)), ((3, 0), (0, 6)), ((1, 700), (700, 300))])
def test_stacks_of_products(run, shapes):
    a, b = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    for left, right in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
        y = run.matmul(left, right)
        np.testing.assert_allclose(y, np.matmul(a.astype("f8"), b.astype("f8")), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels, filters, stride", [(1024, 256, 1), (1031, 300, 1), (600, 260, 2), (64, 64, 1),
                                                       (70, 130, 1), (2048, 70, 1)])
def test_layers_of_one_tap_that_fetch_or_copy_their_pixels(run, channels, filters, stride):
    """Rows are fetched ahead of a product; pixels a page apart are copied for wgrad."""
    x, w = normal(3, 9, 9, channels), normal(1, 1, channels, filters, seed=1)
    geo = geo_of(x, w, stride=stride, padding=0)
    gy, strided = normal(*geo.y_shape, seed=2), x[:, ::stride, ::stride].astype("f8")
    right = {"y": strided @ w[0, 0].astype("f8"),
             "gw": np.einsum("nhwc,nhwk->ck", strided, gy.astype("f8"))[None, None]}
    got = {"y": run.conv_fprop(x, w, None, geo, None), "gw": run.conv_wgrad(x, gy, geo)}
    for name, exact in right.items():
        np.testing.assert_allclose(got[name], exact, rtol=0, atol=1e-6 * np.abs(exact).max(), err_msg=name)


@pytest.mark.parametrize("filters, groups", [(6, 1), (1, 1), (16, 1), (70, 1), (12, 3)])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_an_activation_has_the_bits_of_its_op(filters, groups, activation):
    """Where few filters are neighbours of each other, rows of pixels are activated at once."""
    x, w, b = normal(3, 13, 11, 3), normal(5, 5, 3 // groups, filters, seed=1), normal(filters, seed=2)
    with cg.use_backend("cpu"):
        fused = cg.conv2d(x, w, b, padding=2, groups=groups, activation=activation)
        apart = getattr(cg, activation)(cg.conv2d(x, w, b, padding=2, groups=groups))
    assert fused.numpy().tobytes() == apart.numpy().tobytes()


# --- sanitizers


@pytest.mark.parametrize("sanitizer", sanitized.CPU_FLAGS)
def test_kernels_under_sanitizers(sanitizer, module):
    """AddressSanitizer and UBSan find accesses outside arrays, ThreadSanitizer what the pool of threads leaves open."""
    done = sanitized.run(sanitized.build_for_cpu(sanitizer, module.instruction_set()))
    assert done.returncode == 0 and not sanitized.reports(done.stdout), done.stdout[-6000:]
    assert ", 0 wrong" in done.stdout


@pytest.mark.parametrize("op", sorted(name for name, op in cg.Op.registry.items() if op.forward is None))
def test_every_op_of_the_backends_runs(op):
    """By a kernel, or by NumPy's function where there is none yet: never by both, and never by nothing."""
    from convgpu.backends.cpu import BY_NUMPY

    assert callable(getattr(load("cpu"), op))
    assert (getattr(load("cpu"), op) is getattr(load("numpy"), op)) == (op in BY_NUMPY)


@pytest.mark.parametrize("op", ["uniform", "normal", "integers"])
def test_explain_says_how_numbers_are_drawn(op):
    with cg.use_backend("cpu"):
        assert " Philox in vectors of integers" in str(cg.explain(op, (4, 10), device="cpu"))
