"""The CPU path's own promises: what the reference gives, bounded memory, the same bits on any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import convgpu as cg
from convgpu.backends import reference
from convgpu.backends.numpy import conv, scatter, workers
from convgpu.backends.numpy.blas import one_blas_thread
from convgpu.backends.numpy.tiles import Blocks
from convgpu.cases.tolerance import worst
from convgpu.geometry import ConvGeometry, conv_geometry

ODD_CHANNELS = (1, 2, 3, 5, 7, 9, 15, 17, 31, 33, 63, 65)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = cg.get_num_threads()
    yield
    cg.set_num_threads(before)


def geometry(x, w, stride=1, padding="valid", dilation=1, groups=1, data_format="channels_last") -> ConvGeometry:
    """The geometry of shapes given with channels last, in either format."""
    if data_format == "channels_first":
        x, w = (x[0], x[-1], *x[1:-1]), (w[-1], w[-2], *w[:-2])
    return conv_geometry("conv", x, w, stride, padding, dilation, groups, data_format)


def operands(geo: ConvGeometry, dtype="float32", seed=0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal(s).astype(dtype) for s in (geo.x_shape, geo.w_shape, geo.y_shape))


def directions(x, w, gy, geo: ConvGeometry, backend=conv) -> dict[str, np.ndarray]:
    return {"fprop": backend.conv_fprop(x, w, None, geo, None), "dgrad": backend.conv_dgrad(gy, w, None, geo, None),
            "wgrad": backend.conv_wgrad(x, gy, geo)}


def check(geo: ConvGeometry, dtype="float32") -> None:
    """All directions within the bound."""
    arrays = operands(geo, dtype)
    wide = [a.astype(np.float64) for a in arrays]
    exact, magnitude = directions(*wide, geo, reference), directions(*map(np.abs, wide), geo, reference)
    taps, pixels = np.prod(geo.kernel), geo.batch * np.prod(geo.output)
    length = {"fprop": taps * geo.channels, "dgrad": taps * geo.filters, "wgrad": pixels}
    for name, got in directions(*arrays, geo).items():
        assert got.dtype == dtype and got.flags.c_contiguous and got.shape == exact[name].shape
        error = worst(got, exact[name], magnitude[name], int(length[name]))
        assert error <= 1, f"{name} of {geo}: {error:.3g} times the bound"


# --- against the reference

SHAPES = {
    "same": ((2, 9, 8, 4), (3, 3, 4, 6), 1, "same"),
    "strided": ((2, 13, 11, 6), (3, 3, 6, 8), 2, (1, 0)),
    "strides_3_5": ((1, 20, 23, 3), (5, 7, 3, 4), (3, 5), "valid"),
    "asymmetric": ((2, 9, 9, 8), (3, 3, 8, 40), 1, ((1, 0), (1, 0))),
    "dilated": ((2, 16, 15, 5), (3, 2, 5, 7), 1, 2, (3, 2)),
    "pointwise": ((3, 7, 5, 24), (1, 1, 24, 40), 1, 0),
    "pointwise_strided": ((3, 7, 5, 24), (1, 1, 24, 40), 2, 0),
    "pointwise_padded": ((3, 7, 5, 4), (1, 1, 4, 3), 1, 2),
    "gaps_between_windows": ((1, 30, 31, 3), (2, 2, 3, 4), 7, 0),
    "wide_dilation": ((1, 41, 40, 2), (3, 3, 2, 3), 1, 0, 19),
    "filter_as_large_as_the_image": ((2, 7, 7, 20), (7, 7, 20, 30), 1, 0),
    "full": ((2, 5, 6, 3), (3, 4, 3, 2), 1, "full"),
    "padding_beyond_the_filter": ((2, 5, 6, 3), (3, 4, 3, 2), 1, 6),
    "groups": ((2, 9, 9, 12), (3, 3, 4, 15), 1, 1, 1, 3),
    "many_groups": ((1, 9, 9, 128), (3, 3, 2, 192), 2, 1, 1, 64),
    "depthwise": ((2, 12, 12, 40), (3, 3, 1, 40), 1, 1, 1, 40),
    "depthwise_strided": ((2, 13, 12, 40), (3, 3, 1, 80), 2, 1, 1, 40),
    "depthwise_dilated": ((2, 13, 12, 6), (3, 3, 1, 6), 1, 2, 2, 6),
    "depthwise_many_channels": ((1, 3, 4, 2050), (1, 2, 1, 2050), 1, 1, 1, 2050),
    "depthwise_wide_stride": ((1, 23, 20, 6), (3, 3, 1, 6), 5, 1, 1, 6),
    "several_inputs_one_filter": ((2, 8, 8, 15), (3, 3, 3, 5), 1, 1, 1, 5),
    "one_dimension": ((2, 50, 6), (5, 6, 7), 2, 1),
    "long_filter": ((1, 900, 2), (600, 2, 3), 1, 0),
    "three_dimensions": ((2, 6, 7, 5, 4), (3, 2, 3, 4, 6), (1, 2, 1), 1),
    "depthwise_three_dimensions": ((1, 5, 6, 7, 8), (3, 3, 3, 1, 8), 1, 1, 1, 8),
    "small_images_in_a_batch": ((40, 9, 8, 6), (5, 5, 6, 16), 1, 0),
    "small_images_strided": ((40, 9, 8, 6), (3, 3, 3, 20), 2, 1, 1, 2),
    "no_pixels_but_padding": ((2, 0, 5, 3), (3, 3, 3, 4), 1, 2),
}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name", SHAPES)
def test_equals_the_reference(name, data_format):
    geo = geometry(*SHAPES[name], data_format=data_format)
    for dtype in ("float32", "float64", "float16"):
        check(geo, dtype)


@pytest.mark.parametrize("channels", ODD_CHANNELS)
def test_odd_channels(channels):
    for filters in ODD_CHANNELS:
        check(geometry((1, 6, 5, channels), (3, 2, channels, filters), 1, 1))


@pytest.mark.parametrize("shape", ["same", "strided", "groups", "depthwise"])
def test_several_blocks_of_everything(shape, monkeypatch):
    """Limits so small that taps, filters, groups and pixels are all split, and filters copied block by block."""
    from convgpu.backends.numpy import depthwise, gather, operands, wgrad
    for module, limits in ((gather, {"TAPS": 7, "FILTERS": 3, "TILE": 4096, "WORK": 1, "COPIED": 16}),
                           (scatter, {"TAPS": 7, "FILTERS": 3, "TILE": 4096, "WORK": 1, "COPIED": 16}),
                           (wgrad, {"BLOCK": 24, "PIXELS": 8, "MOST_PIXELS": 8, "WORK": 1, "RUN": 2}),
                           (depthwise, {"TILE": 256, "CHANNELS": 16, "CHAIN": 4})):
        for limit, value in limits.items():
            monkeypatch.setattr(module, limit, value)
        monkeypatch.setattr(module, "_plan", module._plan.__wrapped__)
    monkeypatch.setattr(operands.Filters, "LIMIT", 64)
    for data_format in ("channels_last", "channels_first"):
        geo = geometry(*SHAPES[shape], data_format=data_format)
        check(geo)
        check(geo, "float16")


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("shape", ["same", "strided", "depthwise", "groups"])
def test_padding_is_never_multiplied(shape, bad):
    geo = geometry(*SHAPES[shape])
    x, w, gy = operands(geo)
    w[0, 0, 0, 0] = gy[0, 0, 0, 0] = bad
    with np.errstate(invalid="ignore"):
        expected = directions(*[a.astype(np.float64) for a in (x, w, gy)], geo, reference)
        for name, got in directions(x, w, gy, geo).items():
            np.testing.assert_allclose(got, expected[name].astype(np.float32), rtol=1e-4, atol=1e-4, err_msg=name)


def test_strided_and_read_only_views():
    geo = geometry(*SHAPES["same"])
    x, w, gy = operands(geo)
    expected = directions(x, w, gy, geo)
    views = []
    for a in (x, w, gy):
        view = np.repeat(a, 2, axis=1)[:, ::2].swapaxes(0, 1).copy().swapaxes(0, 1)
        view.flags.writeable = False
        views.append(view)
    for name, got in directions(*views, geo).items():
        np.testing.assert_array_equal(got, expected[name], err_msg=name)


def test_bias_and_activation_in_every_path():
    for name in ("same", "strided", "depthwise", "pointwise", "no_pixels_but_padding"):
        geo = geometry(*SHAPES[name])
        x, w, gy = operands(geo)
        for backend_name, first, channels in (("conv_fprop", x, geo.filters), ("conv_dgrad", gy, geo.channels)):
            bias = np.linspace(-1, 1, channels, dtype=np.float32)
            got, expected = (getattr(b, backend_name)(first, w, bias, geo, "relu") for b in (conv, reference))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=f"{backend_name} {name}")


def test_long_one_signed_sums():
    """100,352 pixels in wgrad, 9,216 taps in fprop, and one pixel's worth of a long sum."""
    for shape in (((8, 112, 112, 2), (1, 1, 2, 3)), ((8, 112, 112, 2), (3, 3, 2, 3), 1, 1),
                  ((8, 112, 112, 3), (3, 3, 1, 3), 1, 1, 1, 3), ((1, 4, 4, 1024), (3, 3, 1024, 3), 1, 1),
                  ((1, 7, 7, 512), (7, 7, 512, 9)), ((2, 7, 7, 512), (7, 7, 512, 1))):
        geo = geometry(*shape)
        arrays = [np.random.default_rng(1).random(s, np.float32) for s in (geo.x_shape, geo.w_shape, geo.y_shape)]
        exact = directions(*[a.astype(np.float64) for a in arrays], geo, reference)
        for name, got in directions(*arrays, geo).items():
            error = worst(got, exact[name], exact[name], 100_352)
            assert error <= 1, f"{name} of {shape}: {error:.3g} times the bound"


def test_denormals_are_kept():
    geo = geometry((1, 4, 4, 2), (3, 3, 2, 2), 1, 1)
    x, w = np.full(geo.x_shape, 1e-39, np.float32), np.ones(geo.w_shape, np.float32)
    assert conv.conv_fprop(x, w, None, geo, None)[0, 1, 1, 0] == pytest.approx(18e-39, rel=1e-5)


# --- memory

LARGE = {
    "many_pixels": (((1, 224, 224, 32), (3, 3, 32, 32), 1, 1), "float32"),
    "half": (((1, 160, 160, 32), (3, 3, 32, 32), 1, 1), "float16"),
    "many_channels": (((1, 5, 5, 20_000), (3, 3, 20_000, 20), 1, 1), "float16"),
    "many_filters": (((1, 20, 20, 8), (1, 1, 8, 30_000), 1, 0), "float16"),
    "many_weights": (((1, 3, 3, 4_000), (3, 3, 4_000, 600), 1, 0), "float16"),
    "large_kernel": (((1, 1_000_050, 1), (1_000_000, 1, 2), 1, 0), "float32"),
    "wide_dilation": (((1, 1_100, 1_100, 4), (3, 3, 4, 4), 1, 0, 400), "float32"),
    "wide_stride": (((1, 1_500, 1_500, 4), (3, 3, 4, 4), 100, 0), "float32"),
    "depthwise": (((1, 112, 112, 256), (3, 3, 1, 256), 1, 1, 1, 256), "float16"),
    "groups": (((1, 30, 30, 2_000), (3, 3, 2, 3_000), 1, 1, 1, 1_000), "float32"),
}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name", LARGE)
def test_extra_memory_is_bounded(name, data_format):
    shape, dtype = LARGE[name]
    geo = geometry(*shape, data_format=data_format)
    x, w, gy = (np.zeros(s, dtype) for s in (geo.x_shape, geo.w_shape, geo.y_shape))
    cg.set_num_threads(16)
    calls = {"fprop": lambda: conv.conv_fprop(x, w, None, geo, None), "wgrad": lambda: conv.conv_wgrad(x, gy, geo),
             "dgrad": lambda: conv.conv_dgrad(gy, w, None, geo, None)}
    for direction, call in calls.items():
        workers._scratch.clear()
        tracemalloc.start()
        try:
            result = call()
            extra = tracemalloc.get_traced_memory()[1] - result.nbytes
        finally:
            tracemalloc.stop()
        assert extra <= 64 * 2**20, f"{direction}: {extra / 2**20:.1f} MB"


# --- threads

@pytest.mark.parametrize("name", ["same", "strided", "groups", "depthwise", "pointwise", "three_dimensions",
                                  "small_images_in_a_batch"])
def test_same_bits_at_any_number_of_threads(name):
    x, w, *options = SHAPES[name]
    geo = geometry((16, *[4 * n for n in x[1:-1]], x[-1]), w, *options)
    arrays = operands(geo)
    cg.set_num_threads(1)
    expected = directions(*arrays, geo)
    for threads in (1, 2, 3, 5):
        cg.set_num_threads(threads)
        for direction, got in directions(*arrays, geo).items():
            np.testing.assert_array_equal(got, expected[direction], err_msg=f"{direction}, {threads} threads")


def test_concurrent_calls_equal_serial_ones():
    geos = [geometry(*SHAPES[name]) for name in ("same", "strided", "groups", "depthwise")]
    problems = [(*operands(geo, seed=i), geo) for i, geo in enumerate(geos * 2)]
    expected = [directions(*p) for p in problems]
    cg.set_num_threads(3)

    def work(i: int) -> None:
        for _ in range(10):
            for direction, got in directions(*problems[i]).items():
                np.testing.assert_array_equal(got, expected[i][direction])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_its_own_pool():
    program = """
import os, sys
import numpy as np, convgpu as cg
cg.set_num_threads(3)
x, w = np.ones((8, 64, 64, 8), "float32"), np.ones((3, 3, 8, 8), "float32")
before = cg.conv(x, w).numpy()
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(cg.conv(x, w).numpy(), before) else 1)
status = os.waitpid(child, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status))
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_the_environment_sets_the_number_of_threads():
    program = "import convgpu; print(convgpu.get_num_threads())"
    for value, expected in (("3", "3\n"), ("", f"{workers._cores()}\n")):
        ran = subprocess.run([sys.executable, "-c", program], env={**os.environ, "CONVGPU_NUM_THREADS": value},
                             capture_output=True, text=True, timeout=60)
        assert ran.stdout == expected
    ran = subprocess.run([sys.executable, "-c", program], env={**os.environ, "CONVGPU_NUM_THREADS": "many"},
                         capture_output=True, text=True, timeout=60)
    assert "CONVGPU_NUM_THREADS: expected an integer >= 1, got 'many'" in ran.stderr


def test_set_num_threads_refuses_what_is_no_count():
    with pytest.raises(ValueError, match="expected n >= 1, got 0"):
        cg.set_num_threads(0)
    with pytest.raises(TypeError, match="integer"):
        cg.set_num_threads(1.5)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("scratch", [0, 1000])
def test_every_tile_runs_once(threads, scratch):
    cg.set_num_threads(threads)
    done: list[int] = []
    workers.parallel_for(100, lambda i, *memory: done.append(i), scratch)
    assert sorted(done) == list(range(100))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_exception_reaches_the_caller(threads):
    cg.set_num_threads(threads)
    started = []

    def body(i: int) -> None:
        started.append(i)
        if i == 3:
            raise KeyError(i)

    with pytest.raises(KeyError, match="3"):
        workers.parallel_for(10_000, body)
    assert len(started) < 10_000
    workers.parallel_for(4, started.append)  # the pool still works


def test_an_exception_in_a_worker_reaches_the_caller():
    cg.set_num_threads(2)
    caller, failed = threading.get_ident(), threading.Event()

    def body(i: int) -> None:
        if threading.get_ident() != caller:
            failed.set()
            raise OSError("in a worker")
        failed.wait(10)

    with pytest.raises(OSError, match="in a worker"):
        workers.parallel_for(2, body)


def test_parallel_for_inside_a_tile():
    cg.set_num_threads(3)
    done: list[tuple[int, int]] = []
    workers.parallel_for(6, lambda i: workers.parallel_for(6, lambda j: done.append((i, j))))
    assert len(set(done)) == 36


def test_blas_has_one_thread_inside_and_its_own_count_after():
    if one_blas_thread._get is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    before = one_blas_thread._get()
    one_blas_thread._set(2)
    seen: list[int] = []
    workers.parallel_for(1, lambda i: seen.append(one_blas_thread._get()))
    with one_blas_thread, one_blas_thread:
        seen.append(one_blas_thread._get())
    after = one_blas_thread._get()
    one_blas_thread._set(before)
    assert (seen, after) == ([1, 1], 2)


# --- how work is cut

@pytest.mark.parametrize("limit", [1, 2, 5, 7, 12, 60, 1000])
def test_blocks_are_contiguous_and_cover_everything(limit):
    blocks = Blocks((3, 4, 5), limit)
    flat = np.arange(60).reshape(3, 4, 5)
    stop = 0
    for block in blocks:
        inside = flat[tuple(slice(a, b) for a, b in block.box)].ravel()
        np.testing.assert_array_equal(inside, np.arange(block.start, block.stop))
        assert block.start == stop and len(inside) <= max(limit, 1) and len(inside) <= blocks.largest
        stop = block.stop
    assert stop == 60
