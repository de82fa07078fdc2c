"""Convolution in all its forms and directions: every named case on every CPU backend against the oracle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conv_checks import DTYPES, FORMATS, by_name, check, filters_to, images_to, normal, problem, results

import convgpu as cg
from convgpu import backends
from convgpu.cases.conv import CASES, REFUSED, ConvCase, conv_cases, grid_cases
from convgpu.cases.tolerance import worst
from convgpu.dtypes import as_dtype

# --- right everywhere


@pytest.mark.parametrize("backend", backends.CPU_BACKENDS, indirect=True)  # faster than cases: their oracle is kept
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_case(case, backend):
    dtypes = {"channels": ["float32"], "long": DTYPES[1:]}  # float64 has no block sums: no promise on long ones
    for dtype in next((dtypes[tag] for tag in case.tags if tag in dtypes), DTYPES):
        for data_format in FORMATS:
            check(case, dtype, data_format)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grid(rank, backend):
    for i, case in enumerate(grid_cases(rank)):
        check(case, "float32", FORMATS[i % 2])


def test_odd_channels_in_half_types(backend):
    for i, case in enumerate(conv_cases("channels")):
        check(case, DTYPES[2 + i % 2], FORMATS[i // 2 % 2])


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_adjoint_identity(case, backend):
    """<g, fprop(x, w)> = <x, dgrad(g, w)> = <w, wgrad(x, g)>, on the backend's own functions."""
    functions = backends.load(backend)
    rng = np.random.default_rng(3)
    for data_format in FORMATS:
        geo = case.geometry(data_format)
        x, w, g = (rng.standard_normal(s) for s in (geo.x_shape, geo.w_shape, geo.y_shape))
        y = functions.conv_fprop(x, w, None, geo, None)
        gx = functions.conv_dgrad(g, w, None, geo, None)
        gw = functions.conv_wgrad(x, g, geo)
        assert (y.shape, gx.shape, gw.shape) == (geo.y_shape, geo.x_shape, geo.w_shape)
        scale = 1e-12 * (1 + np.sqrt(geo.macs))
        assert abs(np.vdot(g, y) - np.vdot(x, gx)) <= scale
        assert abs(np.vdot(g, y) - np.vdot(w, gw)) <= scale


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=[case.name for case, _ in REFUSED])
def test_refused(case, message):
    x, w = np.zeros(case.x, np.float32), np.zeros(case.w, np.float32)
    with pytest.raises(ValueError, match=f"^{case.form}: .*{message}"):
        getattr(cg, case.form)(x, w, **case.options)


# --- empty problems


def test_no_images_give_zero_weight_gradients(backend):
    w, bias = cg.tensor(np.ones((3, 3, 2, 4), "float32"), requires_grad=True), cg.tensor([1.0] * 4, requires_grad=True)
    y = cg.conv(np.zeros((0, 5, 5, 2), "float32"), w, bias)
    y.sum().backward()
    assert y.shape == (0, 3, 3, 4)
    assert w.grad.shape == w.shape and not w.grad.numpy().any()
    assert bias.grad.shape == bias.shape and not bias.grad.numpy().any()


def test_no_channels_give_the_bias(backend):
    bias = np.array([1.0, -2.0, 3.0])
    y = cg.conv(np.zeros((2, 4, 5, 0)), np.zeros((3, 3, 0, 3)), bias)
    assert y.shape == (2, 2, 3, 3)
    assert np.array_equal(y.numpy(), np.broadcast_to(bias, y.shape))
    y = cg.conv_transpose(np.zeros((2, 4, 5, 0)), np.zeros((3, 3, 3, 0)), bias, activation="relu")
    assert np.array_equal(y.numpy(), np.broadcast_to(np.maximum(bias, 0), (2, 6, 7, 3)))


def test_pixels_that_no_window_covers_get_zero_gradient(backend):
    x = cg.tensor(np.ones((1, 8, 1)), requires_grad=True)
    cg.conv(x, np.ones((2, 1, 1)), stride=3).sum().backward()
    assert x.grad.numpy().ravel().tolist() == [1, 1, 0, 1, 1, 0, 1, 1]


# --- the bias gradient


@pytest.mark.parametrize("shape", [(2, 5, 6, 3), (4, 7), (0, 4, 3), (3, 2, 2, 2, 5)], ids=str)
def test_channel_sum(shape, backend):
    channel_sum = cg.Op.registry["channel_sum"]
    gy = normal(*shape)
    for channels_last, channel in ((True, len(shape) - 1), (False, 1)):
        expected = gy.sum(tuple(a for a in range(len(shape)) if a != channel))
        np.testing.assert_allclose(channel_sum(gy, channels_last).numpy(), expected, rtol=1e-13, atol=1e-14)
        for order in (1, 2):
            cg.check_grad(lambda gy, last=channels_last: channel_sum(gy, last), gy, order=order)


# --- special values


def one(size, at, value):
    a = np.ones((1, size, size, 1), np.float32)
    a[0, at[0], at[1], 0] = value
    return a


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_padding_is_skipped_not_multiplied(backend, value):
    """A tap outside the image takes no part: 0 * Inf does not appear at a border, in any direction."""
    w = np.ones((3, 3, 1, 1), np.float32)
    w[0, 0] = value
    y = cg.conv(np.ones((1, 4, 4, 1), np.float32), w, padding=1).numpy()[0, :, :, 0]
    assert np.array_equal(y[0], [4, 6, 6, 4]) and np.array_equal(y[:, 0], [4, 6, 6, 4])
    assert np.all(y[1:, 1:] == value)

    x = cg.tensor(np.ones((1, 4, 4, 1), np.float32), requires_grad=True)
    cg.conv(x, w, padding=1).backward(np.ones((1, 4, 4, 1), np.float32))
    gx = x.grad.numpy()[0, :, :, 0]
    assert np.array_equal(gx[3], [4, 6, 6, 4]) and np.array_equal(gx[:, 3], [4, 6, 6, 4])
    assert np.all(gx[:3, :3] == value)

    filters = cg.tensor(np.ones((3, 3, 1, 1), np.float32), requires_grad=True)
    cg.conv(np.ones((1, 4, 4, 1), np.float32), filters, padding=1).backward(one(4, (0, 0), value))
    gw = filters.grad.numpy()[:, :, 0, 0]
    assert np.array_equal(gw[0], [9, 12, 9]) and np.array_equal(gw[:, 0], [9, 12, 9])
    assert np.all(gw[1:, 1:] == value)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_gaps_of_a_transposed_convolution_are_not_multiplied(backend, stride):
    w = np.full((3, 3, 1, 1), np.inf, np.float32)
    y = cg.conv_transpose(np.ones((1, 3, 3, 1), np.float32), w, stride=stride, output_padding=stride - 1).numpy()
    reached = 2 * stride + 3
    assert np.all(y[0, :reached, :reached] == np.inf)
    assert not y[0, reached:].any() and not y[0, :, reached:].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_reach_what_they_touch_and_nothing_else(backend, value, dtype):
    x = one(6, (2, 3), value).astype(as_dtype(dtype))
    w = np.ones((3, 3, 1, 2), as_dtype(dtype))
    y = cg.conv(x, w, padding=1).numpy().astype(np.float64)
    touched = np.zeros((6, 6), bool)
    touched[1:4, 2:5] = True
    assert np.array_equal(y[0, :, :, 0][touched], np.full(9, value), equal_nan=True)
    assert np.isfinite(y[0][~touched]).all()

    w[1, 1, 0, 1] = value
    y = cg.conv(np.ones((1, 5, 5, 1), as_dtype(dtype)), w).numpy().astype(np.float64)
    assert np.array_equal(y[..., 1].ravel(), np.full(9, value), equal_nan=True) and np.all(y[..., 0] == 9)

    t = cg.tensor(np.ones((1, 6, 6, 1), as_dtype(dtype)), requires_grad=True)
    cg.conv(t, np.ones((3, 3, 1, 1), as_dtype(dtype)), padding=1).backward(x)
    gx = t.grad.numpy().astype(np.float64)[0, :, :, 0]
    assert np.array_equal(gx[touched], np.full(9, value), equal_nan=True) and np.isfinite(gx[~touched]).all()


def test_denormals_are_kept(backend):
    x = np.full((1, 4, 4, 2), 1e-39, np.float32)
    w = np.zeros((3, 3, 2, 2), np.float32)
    w[1, 1] = np.eye(2)
    assert np.array_equal(cg.conv(x, w, padding=1).numpy(), x)
    assert np.array_equal(cg.conv_transpose(x, w, padding=1).numpy(), x)
    assert np.array_equal(cg.conv(x, np.ones((1, 1, 2, 1), np.float32)).numpy()[..., 0], x.sum(-1))


def test_half_types_round_once(backend):
    """A bias that cancels most of a sum leaves the sum's digits, which a rounding before it would have lost."""
    x, w = np.full((1, 1, 1, 1), 1.0, np.float16), np.full((1, 1, 1, 1), 1.0, np.float16)
    x = np.concatenate([x, x], -1)
    w = np.array([1.0, 2.0**-12], np.float16).reshape(1, 1, 2, 1)
    bias = np.array([-1.0], np.float16)
    assert cg.conv(x, w, bias).item() == 2.0**-12
    assert cg.conv_transpose(x, w.reshape(1, 1, 1, 2), bias).item() == 2.0**-12


# --- memory: views, poison, repetition


def views(a: np.ndarray) -> dict[str, np.ndarray]:
    """The same values lying otherwise in memory."""
    spread = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    spread[tuple(slice(1, None, 2) for _ in a.shape)] = a
    read_only = a.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape)
    return {"strided": spread[tuple(slice(1, None, 2) for _ in a.shape)], "fortran": np.asfortranarray(a),
            "reversed": np.ascontiguousarray(a[..., ::-1])[..., ::-1], "read_only": read_only, "unaligned": unaligned,
            "transposed": np.ascontiguousarray(a.T).T, "big_endian": a.astype(a.dtype.newbyteorder(">"))}


@pytest.mark.parametrize("case", [c for c in CASES if c.name in (
    "padding_asymmetric", "filter_1x1", "groups_2", "depthwise_3x3", "transposed_4x4_stride_2", "conv3d")], ids=by_name)
def test_any_memory_layout(case, backend):
    p = problem(case, "float32")
    function = getattr(cg, case.form)
    plain = function(p.x, p.w, p.bias, **case.options).numpy()
    w_views = views(p.w)
    for name, x in views(p.x).items():
        assert np.array_equal(function(x, w_views[name], p.bias, **case.options).numpy(), plain), name
    if case.form == "conv":
        geo, run = case.geometry(), backends.load(backend)  # the backend itself, where no copy was taken before
        for (name, x), w, g in zip(views(p.x).items(), w_views.values(), views(p.g).values()):
            if name != "big_endian":
                assert worst(run.conv_fprop(x, w, None, geo, None), *_without_bias(p), p.lengths["y"]) <= 1, name
                assert worst(run.conv_dgrad(g, w, None, geo, None), *p.exact["x"], p.lengths["x"]) <= 1, name
                assert worst(run.conv_wgrad(x, g, geo), *p.exact["w"], p.lengths["w"]) <= 1, name


def _without_bias(p):
    bias = p.bias.astype(np.float64)
    return p.exact["y"].value - bias, p.exact["y"].magnitude - np.abs(bias)


def test_broadcast_operands(backend):
    x = np.broadcast_to(np.float32(2), (2, 5, 5, 3))
    w = np.broadcast_to(np.float32(0.5), (3, 3, 3, 4))
    assert np.all(cg.conv(x, w).numpy() == 27)
    g = np.broadcast_to(np.float32(1), (2, 3, 3, 4))
    geo = ConvCase("broadcast", x.shape, w.shape).geometry()
    functions = backends.load(backend)
    assert np.all(functions.conv_wgrad(x, g, geo) == 36)
    assert functions.conv_dgrad(g, w, None, geo, None)[0, 2, 2, 0] == 18


class Guarded:
    """Stands in for np.empty and its kin: memory full of NaN, with a ring of guard bytes around it."""

    RING = 64

    def __init__(self):
        self.blocks = []

    def empty(self, shape, dtype=float, order="C", **_):
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        block = np.full(size + 2 * self.RING, 0xFF, np.uint8)  # all ones: a NaN in every float type
        self.blocks.append(block)
        return block[self.RING:self.RING + size].view(dtype).reshape(shape, order=order)

    def empty_like(self, a, dtype=None, order="K", shape=None, **_):
        return self.empty(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)

    def intact(self):
        return all((b[:self.RING] == 0xFF).all() and (b[-self.RING:] == 0xFF).all() for b in self.blocks)


def test_every_output_element_is_written_and_nothing_beside_it(backend, monkeypatch):
    for case in CASES:
        if case.tags & {"channels", "paddings", "long"}:
            continue
        p = problem(case, "float32")
        before = results(case, p, "channels_last")
        guarded = Guarded()
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", guarded.empty)
            patch.setattr(np, "empty_like", guarded.empty_like)
            after = results(case, p, "channels_last")
        assert guarded.intact(), f"{case.name}: written beyond an array"
        for name, got in after.items():
            assert got.tobytes() == before[name].tobytes(), f"{case.name}: {name} depends on what memory held before"


def test_same_bits_every_time(backend):
    for name in ("channels_33_17", "long_taps", "long_pixels_3x3", "depthwise_7x7", "transposed_4x4_stride_2"):
        case = next(c for c in CASES if c.name == name)
        p = problem(case, "float32")
        first = results(case, p, "channels_last")
        for _ in range(3):
            for key, again in results(case, p, "channels_last").items():
                assert again.tobytes() == first[key].tobytes(), f"{name} {key}"


def test_threads_agree_with_one(backend):
    names = ("channels_33_17", "padding_asymmetric", "depthwise_5x5", "transposed_4x4_stride_2")
    problems = [(case, problem(case, "float32")) for case in CASES if case.name in names]
    expected = [results(case, p, "channels_last") for case, p in problems]

    def run(i):
        case, p = problems[i % len(problems)]
        got = results(case, p, "channels_last")
        return all(got[k].tobytes() == v.tobytes() for k, v in expected[i % len(problems)].items())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(400)))


def test_operands_stay_unwritten(backend):
    case = next(c for c in CASES if c.name == "padding_asymmetric")
    p = problem(case, "float32")
    copies = {k: getattr(p, k).copy() for k in ("x", "w", "bias", "g")}
    results(case, p, "channels_last")
    assert all(np.array_equal(getattr(p, k), v) for k, v in copies.items())


# --- forms made of others


def test_flip_is_the_convolution_of_signal_processing(backend):
    x, w = normal(1, 6, 7, 1), normal(3, 2, 1, 1, seed=1)
    signal = pytest.importorskip("scipy.signal")
    for padding, mode in (("valid", "valid"), ("full", "full")):
        y = cg.conv(x, w, padding=padding, flip=True).numpy()[0, :, :, 0]
        assert np.allclose(y, signal.convolve2d(x[0, :, :, 0], w[:, :, 0, 0], mode), atol=1e-13)
    assert np.array_equal(cg.conv(x, w, flip=True).numpy(), cg.conv(x, w[::-1, ::-1]).numpy())


def test_depthwise_is_one_convolution_per_channel(backend):
    x, w = normal(2, 6, 5, 3), normal(3, 2, 3, 2, seed=1)
    y = cg.depthwise_conv(x, w, padding="same", flip=True).numpy()
    for c in range(3):
        for m in range(2):
            alone = cg.conv(x[..., c:c + 1], w[:, :, c:c + 1, m:m + 1], padding="same", flip=True).numpy()
            assert np.allclose(y[..., c * 2 + m], alone[..., 0], atol=1e-13)


def test_separable_is_depthwise_then_pointwise(backend):
    x, depthwise, pointwise, bias = normal(2, 6, 5, 3), normal(3, 3, 3, 2), normal(1, 1, 6, 4, seed=1), normal(4)
    y = cg.separable_conv(x, depthwise, pointwise, bias, stride=2, padding="same", activation="relu")
    middle = cg.depthwise_conv(x, depthwise, stride=2, padding="same").numpy()
    assert np.allclose(y.numpy(), np.maximum(middle @ pointwise[0, 0] + bias, 0), atol=1e-13)


def test_conv_transpose_is_the_input_gradient_of_conv(backend):
    z = cg.tensor(normal(2, 9, 8, 3), requires_grad=True)
    w, x = normal(3, 2, 3, 4, seed=1), normal(2, 5, 4, 4, seed=2)
    options = {"stride": 2, "padding": ((1, 1), (0, 0))}
    cg.conv(z, w, **options).backward(x)
    assert np.array_equal(cg.conv_transpose(x, w, **options).numpy(), z.grad.numpy())
    wider = cg.conv_transpose(x, w, output_padding=(0, 1), **options)
    assert wider.shape == (2, 9, 9, 3) and not wider.numpy()[:, :, 8].any()


# --- what is refused


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"stride": 1.5}, TypeError, "conv: expected stride to be an integer or a sequence of them, got 1.5"),
    ({"stride": 1.0}, TypeError, "conv: expected stride to be an integer or a sequence of them, got 1.0"),
    ({"stride": "2"}, TypeError, "conv: expected stride to be an integer, got '2'"),
    ({"stride": (1, 2, 3)}, ValueError, r"conv: expected stride to be an integer or 2 of them.*got \(1, 2, 3\)"),
    ({"dilation": None}, TypeError, "conv: expected dilation to be an integer, got None"),
    ({"padding": [1]}, ValueError, r"expected padding to be an integer, or for each of 2 spatial axes.*got \(1,\)"),
    ({"padding": ((1, 1, 1), (0, 0))}, ValueError, r"expected padding pairs \(before, after\), got \(1, 1, 1\)"),
    ({"padding": 0.5}, TypeError, "expected padding to be an integer or a sequence of them, got 0.5"),
    ({"padding": -1}, ValueError, "expected padding >= 0, got -1"),
    ({"groups": 0}, ValueError, "expected groups >= 1, got 0"),
    ({"groups": (1,)}, TypeError, r"expected groups to be an integer, got \(1,\)"),
    ({"data_format": "channel_last"}, ValueError,
     "expected data_format 'channels_last' or 'channels_first', got 'channel_last'"),
    ({"data_format": ["channels_last"]}, ValueError, "expected data_format 'channels_last' or 'channels_first'"),
    ({"activation": "rellu"}, ValueError, "conv: expected activation to be None or one of .*got 'rellu'"),
    ({"bias": np.zeros(5, np.float32)}, ValueError, r"conv: expected bias of shape \(K,\) == \(4,\), got \(5,\)"),
    ({"bias": np.zeros((1, 4), np.float32)}, ValueError, r"conv: expected bias of shape .*got \(1, 4\)"),
])
def test_options_of_the_wrong_kind(options, error, message):
    x, w = np.zeros((1, 5, 5, 3), np.float32), np.zeros((3, 3, 3, 4), np.float32)
    cg.conv(x, w)  # a cache that holds the right answer must not answer for the wrong question
    with pytest.raises(error, match=message):
        cg.conv(x, w, **options)


def test_pairs_are_nested_in_one_dimension_too():
    x, w = np.ones((1, 5, 1), np.float32), np.ones((3, 1, 1), np.float32)
    assert cg.conv(x, w, padding=((2, 1),)).shape == (1, 6, 1)
    assert cg.conv(x, w, padding=[2]).shape == (1, 7, 1)
    with pytest.raises(ValueError, match=r"for each of 1 spatial axes .* got \(2, 1\)"):
        cg.conv(x, w, padding=(2, 1))


def test_integers_of_any_kind_are_options():
    x, w = np.ones((1, 6, 6, 2), np.float32), np.ones((3, 3, 1, 2), np.float32)
    y = cg.conv(x, w, stride=np.int64(2), padding=[np.int32(1), (np.uint8(0), 1)], dilation=[1, np.int8(1)],
                groups=np.int64(2))
    assert y.shape == (1, 3, 3, 2)


@pytest.mark.parametrize(("first", "second"), [("float32", "float64"), ("float16", "float32"), ("bfloat16", "float16"),
                                               ("int64", "float32"), ("float32", "bool")])
def test_dtypes_are_never_mixed(first, second):
    x, w = np.ones((1, 4, 4, 2), as_dtype(first)), np.ones((2, 2, 2, 2), as_dtype(second))
    for function in (cg.conv, cg.conv_transpose, cg.depthwise_conv):
        with pytest.raises(TypeError, match=f"{function.__name__}: expected one dtype .* x: {first}, w: {second}"):
            function(x, w)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="x: int32, w: int32"):
        cg.conv(np.ones((1, 4, 4, 1), np.int32), np.ones((2, 2, 1, 1), np.int32))
    with pytest.raises(TypeError, match="bias: float64"):
        cg.conv(np.ones((1, 4, 4, 1), "f"), np.ones((2, 2, 1, 1), "f"), np.zeros(1))


@pytest.mark.parametrize("given", FORMATS)
def test_the_other_data_format_is_suggested(given):
    meant = FORMATS[given == "channels_last"]
    cases = [ConvCase("conv", (2, 9, 8, 3), (3, 3, 3, 5)), ConvCase("conv", (2, 9, 8, 6), (3, 3, 3, 4), groups=2),
             ConvCase("conv", (2, 9, 3), (5, 3, 4)),
             ConvCase("transpose", (2, 9, 8, 3), (3, 3, 5, 3), form="conv_transpose"),
             ConvCase("depthwise", (2, 9, 8, 3), (3, 3, 3, 2), form="depthwise_conv")]
    for case in cases:
        x = images_to(np.zeros(case.x, "f"), meant)
        w = filters_to(np.zeros(case.w, "f"), case, meant)
        with pytest.raises(ValueError, match=f"did you mean data_format='{meant}'"):
            getattr(cg, case.form)(x, w, data_format=given, **case.options)


def test_pointwise_filters_have_one_tap():
    x = np.zeros((1, 5, 5, 2), "f")
    with pytest.raises(ValueError, match=r"pointwise filters of one tap per axis, got \(3, 3\)"):
        cg.separable_conv(x, np.zeros((3, 3, 2, 1), "f"), np.zeros((3, 3, 2, 4), "f"))
