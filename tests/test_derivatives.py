"""Jacobians, products with vectors, several arguments, gradients of constants, and of the factors of matrices."""

from __future__ import annotations

import numpy as np
import pytest

import convgpu as cg
from convgpu.numpy import linalg


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def network(params, x):
    """A convolution, a normalisation, pooling and a product: their second derivatives are all needed."""
    y = cg.gelu(cg.conv2d(x, params["conv"][0], params["conv"][1], padding=1))
    y = cg.group_norm(y, 2, params["scale"], None)
    return cg.linear(cg.avg_pool2d(y, 2).reshape(x.shape[0], -1), params["out"])


PARAMS = {"conv": [normal(3, 3, 2, 4, seed=1), normal(4, seed=2)], "scale": normal(4, seed=3),
          "out": normal(16, 3, seed=4)}
X = normal(2, 4, 4, 2, seed=5)


def params():
    return cg.tree.map(cg.tensor, PARAMS)


def pytorch(torch):
    """The same network by PyTorch, of the same trees."""
    f = torch.nn.functional

    def run(params, x):
        w = params["conv"][0].permute(3, 2, 0, 1)
        y = f.gelu(f.conv2d(x.permute(0, 3, 1, 2), w, params["conv"][1], padding=1))
        y = f.group_norm(y.contiguous(), 2, params["scale"], None)
        y = f.avg_pool2d(y, 2).permute(0, 2, 3, 1)
        return y.reshape(x.shape[0], -1) @ params["out"]

    return run, cg.tree.map(torch.tensor, PARAMS), torch.tensor(X)


def close(ours, theirs, rtol=1e-9):
    for a, b in zip(cg.tree.leaves(ours), cg.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=rtol, atol=1e-11)


def test_jacobian_as_in_pytorch():
    torch = pytest.importorskip("torch")
    run, theirs, x = pytorch(torch)
    close(cg.jacobian(network)(params(), X), torch.func.jacrev(run)(theirs, x))
    close(cg.jacobian(network, argnums=(1, 0))(params(), X), torch.func.jacrev(run, argnums=(1, 0))(theirs, x))


def test_jvp_as_in_pytorch():
    torch = pytest.importorskip("torch")
    run, theirs, x = pytorch(torch)
    v = cg.tree.map(lambda p: normal(*p.shape, seed=9), PARAMS), normal(*X.shape, seed=10)
    ours = cg.jvp(network, (params(), X), v)
    close(ours, torch.func.jvp(run, (theirs, x), cg.tree.map(torch.tensor, v)))
    assert not any(t.requires_grad for t in cg.tree.leaves(ours))


def test_hvp_as_in_pytorch():
    torch = pytest.importorskip("torch")
    run, theirs, x = pytorch(torch)
    v = cg.tree.map(lambda p: normal(*p.shape, seed=9), PARAMS)
    gradient, product = cg.hvp(lambda p: (network(p, cg.tensor(X))**2).sum(), [params()], [v])
    g, h = torch.func.jvp(torch.func.grad(lambda p: (run(p, x)**2).sum()), (theirs,), (cg.tree.map(torch.tensor, v),))
    close(gradient[0], g)
    close(product[0], h)


def test_the_result_may_be_a_tree():
    x = cg.tensor([1.0, 2.0])
    found = cg.jacobian(lambda x: {"square": x**2, "sums": [x.sum()]})(x)
    assert found["square"].tolist() == [[2.0, 0.0], [0.0, 4.0]] and found["sums"][0].tolist() == [1.0, 1.0]
    value, moved = cg.jvp(lambda x: {"square": x**2, "sums": [x.sum()]}, [x], [cg.tensor([1.0, 3.0])])
    assert value["square"].tolist() == [1.0, 4.0]
    assert moved["square"].tolist() == [2.0, 12.0] and moved["sums"][0].item() == 4.0


def test_results_of_nothing():
    assert cg.jacobian(lambda x: x[:0])(cg.ones(3)).shape == (0, 3)
    assert cg.jacobian(lambda x: x * 2)(cg.ones((0, 2))).shape == (0, 2, 0, 2)


def test_constants_and_linear_functions_have_derivatives_of_zero():
    x = cg.tensor([1.0, 2.0])
    assert cg.value_and_grad(lambda x: cg.tensor(3.0))(x)[1].tolist() == [0.0, 0.0]
    assert cg.jacobian(lambda x: cg.ones(2))(x).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert cg.jvp(lambda x: cg.ones(2), [x], [x])[1].tolist() == [0.0, 0.0]
    assert cg.hvp(lambda x: x.sum(), [x], [x])[1][0].tolist() == [0.0, 0.0]
    w = cg.tensor([1.0], requires_grad=True)
    assert cg.grad([cg.tensor(1.0), (w**2).sum()], w).tolist() == [2.0]
    with pytest.raises(RuntimeError, match="does not depend on any tensor"):
        cg.tensor(1.0).backward()


def test_derivatives_are_differentiated_again():
    """Within another gradient they are recorded, and the path around the inner function counts once."""
    x = cg.tensor([1.0, 2.0])
    outer = cg.value_and_grad(lambda x: (cg.jacobian(lambda z: z**3)(x) * x).sum())
    assert outer(x)[1].tolist() == [9.0, 36.0]  # of the sum of 3 x^3
    outer = cg.value_and_grad(lambda x: cg.jvp(lambda z: z**3, [x], [cg.ones(2)])[1].sum())
    assert outer(x)[1].tolist() == [6.0, 12.0]
    outer = cg.value_and_grad(lambda x: cg.hvp(lambda z: (z**4).sum(), [x], [cg.ones(2)])[1][0].sum())
    assert outer(x)[1].tolist() == [24.0, 48.0]
    twice = cg.jacobian(cg.jacobian(lambda x: (x**3).sum()))
    assert twice(x).tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_value_and_grad_within_itself():
    def inner(x, y):
        return cg.value_and_grad(lambda x: (x**2 * y).sum())(x)[1]  # 2 x y

    value, g = cg.value_and_grad(lambda y: (inner(cg.tensor([3.0]), y) ** 2).sum())(cg.tensor([2.0]))
    assert value.item() == 144.0 and g.tolist() == [144.0]  # (2 x y)^2 by y is 8 x^2 y
    third = cg.value_and_grad(lambda x: cg.value_and_grad(lambda x: cg.value_and_grad(lambda x: x**5)(x)[1])(x)[1])
    assert third(cg.tensor(2.0))[1].item() == 60 * 4.0


def test_argnums():
    def f(a, b, *, c):
        return (a * b["w"] ** 2 * c).sum()

    a, b = cg.tensor([2.0]), {"w": cg.tensor([3.0])}
    value, g = cg.value_and_grad(f, argnums=1)(a, b, c=10.0)
    assert value.item() == 180.0 and g["w"].tolist() == [120.0]
    _, (gb, ga) = cg.value_and_grad(f, argnums=(1, 0))(a, b, c=10.0)
    assert gb["w"].tolist() == [120.0] and ga.tolist() == [90.0]
    (_, aux), (ga,) = cg.value_and_grad(lambda a: (a.sum(), "aux"), has_aux=True, argnums=[0])(a)
    assert aux == "aux" and ga.tolist() == [1.0]


@pytest.mark.parametrize("call, error, words", [
    (lambda: cg.value_and_grad(lambda x: x, argnums=1)(cg.ones(())), ValueError, "argument number 1 .* got 1 "),
    (lambda: cg.value_and_grad(lambda x: x)(x=cg.ones(())), ValueError, "got 0 positional arguments"),
    (lambda: cg.value_and_grad(lambda x: x, argnums=(0, 0)), ValueError, "without repetition"),
    (lambda: cg.value_and_grad(lambda x: x, argnums="0"), TypeError, "argnums to be a number"),
    (lambda: cg.value_and_grad(lambda x: x, argnums=-1), TypeError, "argnums to be a number"),
    (lambda: cg.value_and_grad(lambda x: x, argnums=()), TypeError, "argnums to be a number"),
    (lambda: cg.jacobian(lambda x: 3)(cg.ones(2)), TypeError, "floating Tensors, got int"),
    (lambda: cg.jacobian(lambda x: x > 0)(cg.ones(2)), TypeError, "floating Tensors, got a Tensor of bool"),
    (lambda: cg.jacobian(lambda x: x)(cg.tensor([1, 2])), TypeError, "jacobian: expected floating tensors"),
    (lambda: cg.jvp(lambda x: x, cg.ones(2), cg.ones(2)), TypeError, "primals to be a list or tuple"),
    (lambda: cg.jvp(lambda x: x, [cg.ones(2)], []), ValueError, "got 0 for 1"),
    (lambda: cg.jvp(lambda x: x, [cg.ones(2)], [cg.ones(3)]), ValueError, r"tangent of shape \(2,\), got \(3,\)"),
    (lambda: cg.jvp(lambda x: x["w"], [{"w": cg.ones(2)}], [{"v": cg.ones(2)}]), ValueError, "expected the keys"),
    (lambda: cg.hvp(lambda x: x, [cg.ones(2)], [cg.ones(2)]), TypeError, r"scalar, got shape \(2,\)"),
])
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_error_of_the_function_is_its_own():
    def broken(x):
        raise KeyError("mine")

    for call in (lambda: cg.jvp(broken, [cg.ones(2)], [cg.ones(2)]), lambda: cg.jacobian(broken)(cg.ones(2)),
                 lambda: cg.hvp(broken, [cg.ones(2)], [cg.ones(2)])):
        with pytest.raises(KeyError, match="mine"):
            call()


def test_check_grad_of_trees():
    assert cg.check_grad(network, params(), X, tolerance=1e-6) < 1e-6
    with pytest.raises(AssertionError, match="input 2, element"):
        cg.check_grad(lambda p: {"y": p["a"][1] * cg.tensor(p["b"].numpy())},
                      {"a": [normal(1), normal(3)], "b": normal(3)})


# --- factors of matrices


def symmetric(x):
    return x + cg.numpy.swapaxes(x, -1, -2)


FACTORS = {
    "eigh, values": lambda x: linalg.eigh(symmetric(x))[0],
    "eigh, vectors": lambda x: linalg.eigh(symmetric(x))[1]**2,
    "svd, values": lambda x: linalg.svd(x, compute_uv=False),
    "svd, left": lambda x: linalg.svd(x, full_matrices=False)[0]**2,
    "svd, right": lambda x: linalg.svd(x, full_matrices=False)[2]**2,
    "svd, all": lambda x: [a * a for a in linalg.svd(x, full_matrices=False)],
    "nuclear norm": lambda x: linalg.norm(x[0], "nuc"),
    "spectral norm": lambda x: linalg.norm(x[0], 2),
    "qr, q": lambda x: linalg.qr(x)[0],
    "qr, r": lambda x: linalg.qr(x, mode="r"),
    "qr, both": lambda x: linalg.qr(x),
}


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 4, 3), (2, 3, 4), (2, 3, 1), (2, 1, 3), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("name", FACTORS)
def test_gradients_of_factors(name, shape):
    if name.startswith("eigh") and shape[1] != shape[2]:
        shape = (*shape[:1], 4, 4)
    cg.check_grad(FACTORS[name], normal(*shape, seed=3), order=2, tolerance=1e-5)


@pytest.mark.parametrize("name", ["eigh", "svd", "qr"])
def test_gradients_of_factors_as_in_pytorch(name):
    torch = pytest.importorskip("torch")
    x = normal(3, 4, 4)
    x = x + x.transpose(0, 2, 1) if name == "eigh" else x
    weights = [normal(*part.shape, seed=i) for i, part in enumerate(getattr(np.linalg, name)(x))]
    signs = [1.0, 2.0, 2.0] if name != "qr" else [1.0, 1.0]

    def loss(parts, wrapped):  # squares, since signs of vectors are anyone's
        return sum([(part**(s if name != "qr" else 1) * wrapped(w)).sum()
                    for part, w, s in zip(parts, weights, signs if name != "svd" else [2.0, 1.0, 2.0])])

    _, ours = cg.value_and_grad(lambda x: loss(getattr(linalg, name)(x), cg.tensor))(cg.tensor(x))
    t = torch.tensor(x, requires_grad=True)
    loss(getattr(torch.linalg, name)(t), torch.tensor).backward()
    theirs = t.grad.numpy()
    if name == "eigh":
        theirs = 0.5 * (theirs + theirs.transpose(0, 2, 1))
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-8, atol=1e-10)


def test_what_equal_values_span_has_a_gradient():
    """The projection on two equal directions, and functions of singular values alone."""
    x = np.diag([2.0, 2.0, 5.0])

    def projected(x):
        v = linalg.eigh(x)[1][:, :2]
        return (cg.matmul(v, v.T) * cg.tensor(normal(3, 3))).sum()

    assert np.isfinite(cg.value_and_grad(projected)(cg.tensor(x))[1].numpy()).all()
    g = cg.value_and_grad(lambda x: linalg.norm(x, "nuc"))(cg.tensor(np.eye(3)))[1]
    np.testing.assert_allclose(g, np.eye(3), atol=1e-12)
    g = cg.value_and_grad(lambda x: linalg.norm(x, "nuc"))(cg.tensor(np.zeros((3, 2))))[1]
    assert np.isfinite(g.numpy()).all()


def test_factors_without_gradients_say_so():
    x = cg.tensor(normal(4, 3), requires_grad=True)
    for call in (lambda: linalg.svd(x), lambda: linalg.qr(x, mode="complete"), lambda: linalg.pinv(x)):
        with pytest.raises(NotImplementedError, match="no gradient is defined"):
            call()
    with cg.no_grad():
        assert linalg.svd(x)[0].shape == (4, 4)
