"""per_sample_grad: equal to a loop over the samples, for every layer that it knows; the rest is refused."""

import numpy as np
import pytest

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import tree

rng = np.random.default_rng(0)


def normal(*shape, dtype="float64"):
    return rng.standard_normal(shape).astype(dtype)


def check(losses, params, *batch, tolerance=1e-10):
    got = cg.per_sample_grad(losses)(params, *batch)
    n = len(batch[0])
    for i in range(n):
        value_and_grad = cg.value_and_grad(lambda p, i=i: losses(p, *[b[i:i + 1] for b in batch]).sum())
        _, expected = value_and_grad(params)
        for g, e in zip(tree.leaves(got), tree.leaves(expected), strict=True):
            assert g.shape == (n, *e.shape) and g.dtype == e.dtype and not g.requires_grad
            np.testing.assert_allclose(g[i].numpy().astype(float), e.numpy().astype(float), rtol=tolerance,
                                       atol=tolerance)
    return got


def mean_square(y):
    return (y.reshape(y.shape[0], -1) ** 2).mean(axis=1)


CONVOLUTIONS = {
    "plain": ((3, 7, 8, 3), (3, 3, 3, 4), {}),
    "strided": ((3, 7, 8, 4), (3, 2, 2, 6), {"stride": (2, 1), "padding": ((1, 0), (0, 2)), "groups": 2}),
    "dilated": ((2, 9, 3), (3, 3, 5), {"dilation": 2, "padding": "same"}),
    "3d": ((2, 4, 5, 6, 2), (2, 3, 1, 2, 3), {"padding": 1, "activation": "relu"}),
    "flipped": ((3, 5, 5, 2), (3, 3, 2, 3), {"flip": True, "activation": "gelu"}),
    "one sample": ((1, 5, 5, 2), (3, 3, 2, 3), {}),
}


@pytest.mark.parametrize("backend", ["cpu", "numpy", "reference"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, data_format, backend):
    if backend == "cpu":
        pytest.importorskip("convgpu._cpu", reason="backend cpu is not built")
    x_shape, w_shape, options = CONVOLUTIONS[name]
    x, w = normal(*x_shape), normal(*w_shape)
    if data_format == "channels_first":
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, (-1, -2), (0, 1))
    params = {"w": cg.tensor(w), "b": cg.tensor(normal(w_shape[-1]))}
    with cg.use_backend(backend):
        check(lambda p, x: mean_square(cg.conv(x, p["w"], p["b"], data_format=data_format, **options)), params,
              cg.tensor(x))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_transposed_depthwise_and_separable_convolution(data_format):
    x = normal(3, 6, 5, 4) if data_format == "channels_last" else normal(3, 4, 6, 5)
    up = normal(3, 3, 2, 4) if data_format == "channels_last" else normal(4, 2, 3, 3)
    point = normal(1, 1, 8, 3) if data_format == "channels_last" else normal(3, 8, 1, 1)
    check(lambda p, x: mean_square(cg.conv_transpose(x, p[0], p[1], stride=2, data_format=data_format)),
          [cg.tensor(up), cg.tensor(normal(2))], cg.tensor(x))
    check(lambda p, x: mean_square(cg.separable_conv(x, p[0], p[1], p[2], padding=1, data_format=data_format)),
          (cg.tensor(normal(3, 3, 4, 2)), cg.tensor(point), cg.tensor(normal(3))), cg.tensor(x))


def test_products():
    w, b = cg.tensor(normal(5, 3)), cg.tensor(normal(3))
    for x in (normal(4, 5), normal(4, 6, 5), normal(4, 2, 3, 5)):
        check(lambda p, x: mean_square(cg.linear(x, p["w"], p["b"], activation="tanh")), {"w": w, "b": b},
              cg.tensor(x))
        check(lambda w, x: mean_square(x @ w), w, cg.tensor(x))
    check(lambda w, x: mean_square(cg.gemm(x, w, trans_b=True, alpha=0.5)), cg.tensor(normal(3, 5)),
          cg.tensor(normal(4, 5)))
    heads = cg.tensor(normal(1, 6, 5, 3))
    check(lambda w, x: mean_square(cnp.matmul(x, w)), heads, cg.tensor(normal(4, 6, 2, 5)))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("channels", [1, 4])
def test_norms(channels, data_format):
    shape = (3, 5, 4, channels) if data_format == "channels_last" else (3, channels, 5, 4)
    x, params = cg.tensor(normal(*shape)), {"s": cg.tensor(normal(channels)), "o": cg.tensor(normal(channels))}
    mean, var = cg.tensor(normal(channels)), cg.tensor(normal(channels) ** 2)
    options = {"data_format": data_format}
    check(lambda p, x: mean_square(cg.group_norm(x, 1, p["s"], p["o"], **options)), params, x)
    check(lambda p, x: mean_square(cg.relu(cg.batch_norm(x, mean, var, p["s"], p["o"], training=False,
                                                         **options)[0])), params, x)
    check(lambda p, x: mean_square(cg.silu(cg.batch_norm(x, mean, var, p["s"], p["o"], training=False,
                                                         **options)[0] + x)), params, x)
    last = {"s": cg.tensor(normal(*shape[-2:])), "o": cg.tensor(normal(*shape[-2:]))}
    check(lambda p, x: mean_square(cg.layer_norm(x, p["s"], p["o"], axis=(-2, -1))), last, x)


def test_embedding():
    ids = cg.tensor(rng.integers(0, 7, (4, 5)))
    check(lambda t, ids: mean_square(cg.embedding(ids, t)), cg.tensor(normal(7, 3)), ids)


def test_parameters_that_meet_and_that_are_computed_from_others():
    x = cg.tensor(normal(3, 4, 5))
    params = [cg.tensor(normal(5)), cg.tensor(normal(4, 1)), cg.tensor(normal(1)), cg.tensor(normal(5, 10))]

    def losses(p, x):
        y = (x * p[0] + p[1]) / cg.exp(p[2]) - cnp.maximum(p[0] * 2, p[1])
        w = (p[3].reshape(5, 5, 2).transpose(0, 2, 1) * p[0]).reshape(5, 10)
        return mean_square(cg.linear(y, w)) + (p[2] ** 2).reshape(1) * x[:, 0, 0]

    check(losses, params, x)


def test_a_network_in_each_dtype_and_of_unused_parameters():
    labels = cg.tensor(rng.integers(0, 4, 6))
    for dtype, tolerance in (("float64", 1e-10), ("float32", 2e-4)):
        params = tree.map(lambda a, dtype=dtype: cg.tensor(a, dtype=dtype), {
            "w": normal(3, 3, 3, 8) / 5, "s": np.ones(8), "o": np.zeros(8), "v": normal(8, 4), "b": normal(4),
            "unused": normal(2)})

        def losses(p, x, labels):
            y = cg.relu(cg.group_norm(cg.conv(x, p["w"], padding="same"), 2, p["s"], p["o"]))
            y = cg.global_avg_pool(cg.max_pool(y, 2) + cg.avg_pool(y, 2))
            return cg.cross_entropy(cg.linear(y, p["v"], p["b"]), labels, reduction="none")

        got = check(losses, params, cg.tensor(normal(6, 8, 8, 3, dtype=dtype)), labels, tolerance=tolerance)
        assert not got["unused"].numpy().any()
        value, mean = cg.value_and_grad(lambda p, x, t: losses(p, x, t).mean())(params, cg.ones((6, 8, 8, 3),
                                                                                               dtype=dtype), labels)
        empty = cg.per_sample_grad(losses)(params, cg.zeros((0, 8, 8, 3), dtype=dtype), labels[:0])
        assert empty["w"].shape == (0, 3, 3, 3, 8)


def test_several_arguments():
    x, w, b = normal(3, 2), normal(2, 4), normal(4)
    gw, gb = cg.per_sample_grad(lambda x, w, b: mean_square(cg.linear(x, w, b)), (1, 2))(x, w, b)
    assert gw.shape == (3, 2, 4) and gb.shape == (3, 4)


ONES = np.ones((4, 3))


@pytest.mark.parametrize(("losses", "error", "message"), [
    (lambda w, x: cg.batch_norm(x * w, ONES[0], ONES[0], training=True)[0].sum(axis=1), NotImplementedError,
     "norm_stats .* batch norm in training mixes them"),
    (lambda w, x: (x * w).mean(), NotImplementedError, "reduce .* keep 4 samples apart.*reduction='none'"),
    (lambda w, x: ((x * w).T @ x).sum(axis=1), NotImplementedError, "transpose of .* is not known to keep"),
    (lambda w, x: (x * w)[::-1].sum(axis=1), NotImplementedError, "getitem of"),
    (lambda w, x: cnp.cumsum(x * w, 0).sum(axis=1), NotImplementedError, "cumsum of"),
    (lambda w, x: (x * cnp.cumsum(w)).sum(axis=1), NotImplementedError, "cumsum has no rule .* 'x'"),
    (lambda w, x: x * w, ValueError, r"a loss for each of 4 samples, .* got \(4, 3\)"),
    (lambda w, x: 3.0, ValueError, "got float"),
])
def test_what_mixes_samples_is_refused(losses, error, message):
    with pytest.raises(error, match=f"per_sample_grad: .*{message}"):
        cg.per_sample_grad(losses)(cg.tensor(ONES[0]), ONES)
    assert not cg.autograd.is_watched()


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"samples along their first axis, of one number, got \[\(4, 3\), \(2,\)\]"):
        cg.per_sample_grad(lambda w, x, t: x)(ONES, ONES, np.ones(2))
    with pytest.raises(TypeError, match="per_sample_grad: expected a function"):
        cg.per_sample_grad(3)
