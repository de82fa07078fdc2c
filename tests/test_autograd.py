"""The tape: backward, grad, derivatives of any order, versions, freeing, threads; and ops declared by users."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import convgpu as cg
from convgpu.autograd import Node


def leaf(*values: float) -> cg.Tensor:
    return cg.tensor(np.array(values), requires_grad=True)


# --- gradients


def test_backward_adds_to_grad() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    assert not x.grad.requires_grad
    x.zero_grad()
    assert x.grad is None


def test_a_tensor_used_twice_gets_both_gradients() -> None:
    x = leaf(3.0)
    y = x * x
    (y * y + y).sum().backward()
    assert x.grad.item() == 4 * 27 + 2 * 3


def test_a_long_chain_needs_no_recursion() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1.0
    del y


def test_backward_with_a_gradient() -> None:
    x = leaf(1.0, 2.0)
    (x * x).backward(np.array([10.0, 1.0]))
    assert x.grad.tolist() == [20.0, 4.0]


def test_backward_of_a_leaf() -> None:
    x = leaf(2.0)
    x.backward()
    assert x.grad.tolist() == [1.0]


def test_grad_returns_and_does_not_accumulate() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    gx, gw = cg.grad((x * w).sum(), [x, w])
    assert gx.tolist() == [3.0, 4.0] and gw.tolist() == [1.0, 2.0]
    assert x.grad is None and w.grad is None


def test_grad_of_an_intermediate_and_of_several_outputs() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * y
    assert cg.grad(z, y, retain_graph=True).item() == 8.0
    gy, gx = cg.grad([z, y], [y, x], grad_outputs=[None, 10.0 * np.ones(1)])
    assert gy.item() == 8.0 + 10.0
    assert gx.item() == (8.0 + 10.0) * 4.0


def test_grad_is_zero_where_nothing_depends() -> None:
    x, unused = leaf(1.0), leaf(1.0, 2.0)
    gx, gu = cg.grad((x * 2).sum(), [x, unused])
    assert gx.item() == 2.0 and gu.tolist() == [0.0, 0.0]


def test_grad_computes_only_what_lies_between() -> None:
    calls = []
    watched = cg.Op("watched", "a, b -> y", lambda a, b: a * b).vjp(
        a=lambda g, b: calls.append("a") or g * b, b=lambda g, a: calls.append("b") or g * a)
    a, b = leaf(2.0), leaf(3.0)
    cg.grad(watched(a, b).sum(), b)
    assert calls == ["b"]


def test_derivatives_of_any_order() -> None:
    x = leaf(0.5)
    d = cg.exp(x * 2)
    for order in range(1, 6):
        d = cg.grad(d.sum(), x, create_graph=True)
        assert d.item() == pytest.approx(2**order * np.exp(1.0))


def test_value_and_grad_over_nested_parameters() -> None:
    params = {"dense": [cg.tensor([1.0, 2.0]), cg.tensor([3.0])], "scale": cg.tensor(2.0)}

    def loss(p: dict, x: float) -> tuple:
        y = (p["dense"][0] * x).sum() + p["dense"][1].sum()
        return y * p["scale"], y

    (value, aux), grads = cg.value_and_grad(loss, has_aux=True)(params, 10.0)
    assert value.item() == 66.0 and aux.item() == 33.0 and not value.requires_grad
    assert grads["dense"][0].tolist() == [20.0, 20.0]
    assert grads["dense"][1].tolist() == [2.0]
    assert grads["scale"].item() == 33.0
    assert params["scale"].grad is None and not params["scale"].requires_grad


@pytest.mark.parametrize("f, has_aux, message", [
    (lambda p: (p * p, p), False, r"got tuple; a pair \(scalar, aux\) needs has_aux=True"),
    (lambda p: 1.0, False, "expected f to return a scalar Tensor, got float"),
    (lambda p: p * p, True, r"expected f to return a pair \(scalar Tensor, aux\) because has_aux=True, got Tensor"),
])
def test_value_and_grad_of_what_is_no_scalar(f, has_aux, message) -> None:
    with pytest.raises(TypeError, match=message):
        cg.value_and_grad(f, has_aux)(2.0)


def test_no_grad_is_a_context_and_a_decorator() -> None:
    x = leaf(1.0)
    with cg.no_grad():
        assert not cg.is_grad_enabled() and not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @cg.no_grad()
    def double(t: cg.Tensor) -> cg.Tensor:
        return t * 2

    assert not double(x).requires_grad
    with pytest.raises(ZeroDivisionError), cg.no_grad():
        raise ZeroDivisionError
    assert cg.is_grad_enabled()


def test_detach_stops_the_gradient() -> None:
    x = leaf(3.0)
    assert cg.grad((x.detach() * x).sum(), x).item() == 3.0


def test_broadcast_and_promoted_gradients_come_back_in_the_input_shape_and_dtype() -> None:
    a = cg.tensor(np.ones((2, 1), np.float32), requires_grad=True)
    b = cg.tensor(np.ones((3, 1, 4), np.float64), requires_grad=True)
    y = a * b
    assert y.dtype == np.float64 and y.shape == (3, 2, 4)
    y.sum().backward()
    assert a.grad.shape == a.shape and a.grad.dtype == np.float32 and a.grad.tolist() == [[12.0], [12.0]]
    assert b.grad.shape == b.shape and b.grad.dtype == np.float64 and float(b.grad.numpy().max()) == 2.0


# --- one rule for all inputs


def _joint(name: str, calls: list | None = None) -> cg.Op:
    """y = a * b + c with one rule for the three gradients."""
    def rule(g: cg.Tensor, wanted: tuple, a: cg.Tensor, b: cg.Tensor) -> list:
        if calls is not None:
            calls.append(wanted)
        return [g * b if wanted[0] else None, g * a if wanted[1] else None, g if wanted[2] else None]

    return cg.Op(name, "a, b, c=None -> y", lambda a, b, c: a * b if c is None else a * b + c,
                 broadcasts=True).vjp_jointly(rule)


def test_a_joint_rule_gives_every_gradient_that_is_wanted() -> None:
    calls: list = []
    op = _joint("joint", calls)
    a, b, c = leaf(2.0, 3.0), leaf(5.0), leaf(1.0, 1.0)
    ga, gb, gc = cg.grad(op(a, b, c).sum(), [a, b, c])
    assert (ga.tolist(), gb.tolist(), gc.tolist()) == ([5.0, 5.0], [5.0], [1.0, 1.0])
    assert cg.grad(op(a, b.detach()).sum(), a).tolist() == [5.0, 5.0]
    assert cg.grad(op(a, b, c).sum(), b).tolist() == [5.0]  # a and c do not lead to b
    assert calls == [(True, True, True), (True, False, False), (False, True, False)]
    assert all(type(wanted) is tuple for wanted in calls)
    assert cg.check_grad(op, [0.5, -1.0], [2.0, 0.3], [1.0, 4.0], order=2) < 1e-8


def test_a_joint_rule_saves_what_it_names_and_follows_a_pull_back() -> None:
    op = cg.Op("joint_epilogue", "a, b; square -> y", lambda a, b, square: (a * b)**2 if square else a * b)
    op.vjp_jointly(lambda g, wanted, a, b: (g * b, g * a)).pull_back(
        lambda g, a, b, square: g * 2 * a * b if square else g)
    a = leaf(3.0)
    assert set(op(a, leaf(2.0).detach(), True).node.saved) == {"a", "b", "square"}
    assert cg.grad(op(a, leaf(2.0).detach(), True), a).item() == 2 * 6.0 * 2.0
    assert cg.check_grad(lambda a, b: op(a, b, True), [0.5], [2.0], order=2) < 1e-8


def test_a_joint_rule_over_a_sequence_of_inputs() -> None:
    op = cg.Op("joint_total", "*xs; scale -> y", lambda xs, scale: sum(xs[1:], xs[0]) * scale).vjp_jointly(
        lambda g, wanted, scale: [g * scale if w else None for w in wanted])
    a, b = leaf(1.0), leaf(2.0)
    assert [g.item() for g in cg.grad(op([a, np.ones(1), b], 3.0), [a, b])] == [3.0, 3.0]


def test_what_a_joint_rule_returns_is_checked() -> None:
    few = cg.Op("joint_few", "a, b -> y", lambda a, b: a * b).vjp_jointly(lambda g, wanted, b: [g * b])
    with pytest.raises(AssertionError, match="rule of joint_few returned 1 gradients for 2 inputs"):
        few(leaf(1.0), leaf(2.0)).backward()
    half = cg.Op("joint_half", "a, b -> y", lambda a, b: a * b).vjp_jointly(lambda g, wanted, b: [g * b, None])
    a, b = leaf(1.0), leaf(2.0)
    assert cg.grad(half(a, b.detach()), a).item() == 2.0
    with pytest.raises(NotImplementedError, match="joint_half: no gradient is defined with respect to 'b'"):
        half(a, b).backward()
    shape = cg.Op("joint_shape", "a, b -> y", lambda a, b: a * b).vjp_jointly(lambda g, wanted: [g.sum(), g])
    with pytest.raises(AssertionError, match=r"rule of joint_shape returned shape \(\) for an input of \(2,\)"):
        shape(leaf(1.0, 2.0), leaf(1.0, 2.0)).sum().backward()


# --- misuse


def test_backward_twice_says_retain_graph() -> None:
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 4.0
    with pytest.raises(RuntimeError, match="graph was freed by an earlier backward; pass retain_graph=True"):
        y.backward()


def test_backward_of_a_non_scalar_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"expected a scalar or an explicit gradient, got shape \(2,\); .*\.sum\(\)"):
        (leaf(1.0, 2.0) * 2).backward()


def test_backward_of_a_constant() -> None:
    with pytest.raises(RuntimeError, match="does not depend on any tensor with requires_grad=True"):
        cg.tensor(1.0).backward()


def test_gradient_of_a_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        (leaf(1.0, 2.0) * 2).backward(np.ones(3))


def test_assign_after_use_raises_in_backward() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.assign([0.0, 0.0])
    with pytest.raises(RuntimeError, match=r"multiply: its input 'b' .* changed by assign\(\) .*version 0, now 1"):
        y.backward()


def test_assign_of_what_no_gradient_needs_is_harmless() -> None:
    x = leaf(1.0, 2.0)
    y = (x + 1).sum()
    x.assign([5.0, 5.0])
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_missing_gradient_names_op_and_input() -> None:
    half = cg.Op("half_known", "a, b -> y", lambda a, b: a + b).vjp(a=lambda g: g)
    a, b = leaf(1.0), leaf(2.0)
    cg.grad(half(a, b.detach()), a)
    with pytest.raises(NotImplementedError, match="half_known: no gradient is defined with respect to 'b'"):
        cg.grad(half(a, b), b)


def test_requires_grad_needs_a_floating_leaf() -> None:
    with pytest.raises(TypeError, match="requires_grad: expected a floating dtype, got int64"):
        cg.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="expected a leaf"):
        (leaf(1.0) * 2).requires_grad_()


def test_grad_with_respect_to_a_constant() -> None:
    with pytest.raises(RuntimeError, match="expected inputs that are Tensors with requires_grad=True"):
        cg.grad(leaf(1.0) * 2, cg.tensor(1.0))


# --- ops of a user's own


def test_declaring_an_op() -> None:
    cube = cg.Op("cube", "x -> y", lambda x: x**3).vjp(x=lambda g, x: g * 3 * x * x)
    assert cg.check_grad(cube, [0.5, -1.5], order=3) < 1e-8
    assert cube(2.0 * np.ones(2)).tolist() == [8.0, 8.0]


def test_statics_defaults_and_keywords() -> None:
    shift = cg.Op("shift", "x; by=1, sign='+' -> y", lambda x, by, sign: x + by if sign == "+" else x - by).vjp(
        x=lambda g: g)
    assert shift(leaf(1.0)).item() == 2.0
    assert shift(leaf(1.0), by=5, sign="-").item() == -4.0
    with pytest.raises(TypeError, match=r"shift: expected the arguments of .*, got \['to'\] besides"):
        shift(leaf(1.0), to=3)
    with pytest.raises(TypeError, match="shift: expected the arguments of .*, got no 'x'"):
        shift()
    with pytest.raises(TypeError, match="shift: expected at most 3 arguments, got 4"):
        shift(1.0, 2, "+", 4)


def test_a_variadic_op() -> None:
    total = cg.Op("total", "*xs; scale -> y", lambda xs, scale: sum(xs[1:], xs[0]) * scale).vjp(
        xs=lambda g, xs, scale: [g * scale for _ in xs])
    a, b = leaf(1.0), leaf(2.0)
    y = total([a, b, np.ones(1)], 3.0)
    assert y.item() == 12.0
    assert [g.item() for g in cg.grad(y, [a, b])] == [3.0, 3.0]


def test_only_what_the_rules_name_is_saved() -> None:
    x, w = leaf(1.0), leaf(2.0)
    assert set((x * w.detach()).node.saved) == {"b"}
    assert set((x + w).node.saved) == set()
    assert set(cg.exp(x).node.saved) == {"y"}


@pytest.mark.parametrize("declare, message", [
    (lambda: cg.Op("broken", "x"), "expected a signature like"),
    (lambda: cg.Op("broken", "x -> y").vjp(z=lambda g: g), r"expected a gradient for one of \('x',\), got 'z'"),
    (lambda: cg.Op("broken", "x -> y").vjp(x=lambda g, q: g), r"rule over g and any of \('x', 'y'\)"),
    (lambda: cg.Op("broken", "x -> y").vjp(x=lambda x: x), "expected a gradient rule over g"),
    (lambda: cg.Op("broken", "x -> y").vjp(x=lambda: 0), r"expected a gradient rule over g .*got parameters \(\)"),
    (lambda: cg.Op("broken", "x -> y").vjp_jointly(lambda g: [g]), "expected a gradient rule over g, wanted and any"),
    (lambda: cg.Op("broken", "x -> y").vjp_jointly(lambda g, wanted, q: [g]),
     r"over g, wanted and any of \('x', 'y'\), got parameters \('g', 'wanted', 'q'\)"),
    (lambda: cg.Op("broken", "x -> y").vjp(x=lambda g: g).vjp_jointly(lambda g, wanted: [g]), "got both"),
    (lambda: cg.Op("broken", "x -> y").vjp_jointly(lambda g, wanted: [g]).vjp(x=lambda g: g), "got both"),
])
def test_declarations_are_checked(declare, message) -> None:
    with pytest.raises(ValueError, match=message):
        declare()


def test_a_rule_of_the_wrong_shape_is_caught() -> None:
    wrong = cg.Op("wrong_shape", "x -> y", lambda x: x * 1).vjp(x=lambda g: g.sum())
    with pytest.raises(AssertionError, match=r"rule of wrong_shape returned shape \(\) for an input of \(2,\)"):
        wrong(leaf(1.0, 2.0)).sum().backward()


def test_check_grad_finds_a_wrong_gradient_and_names_the_worst_element() -> None:
    bad = cg.Op("bad_exp", "x -> y", np.exp).vjp(x=lambda g, y: g * y * np.array([1.0, 1.001]))
    with pytest.raises(AssertionError, match=r"input 0, element \(1,\): gradient .* central difference"):
        cg.check_grad(bad, [0.1, 0.2])
    second = cg.Op("bad_second", "x -> y", lambda x: x**3).vjp(x=lambda g, x: g * 3 * (x * x).detach())
    assert cg.check_grad(second, [0.7]) < 1e-8
    with pytest.raises(AssertionError, match="check_grad"):
        cg.check_grad(second, [0.7], order=2)


def test_an_op_without_a_backend_function_names_both() -> None:
    with pytest.raises(NotImplementedError, match=f"fourier is not implemented on backend '{cg.current_backend()}'"):
        cg.Op("fourier", "x -> y")(leaf(1.0))


# --- memory and threads


def test_training_leaves_nothing_for_the_garbage_collector() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 6, 6, 1)), cg.tensor(rng.standard_normal((3, 3, 1, 2))), cg.tensor(np.zeros(2))

    def loss(p: dict) -> cg.Tensor:
        y = cg.conv(x, p["w"], p["b"], activation="tanh")
        return (cg.exp(y * 0.1) * y / (y * y + 1.0)).sum()

    step = cg.value_and_grad(loss)
    step({"w": w, "b": b})
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(3_000 // 20):
            for _ in range(20):
                _, grads = step({"w": w, "b": b})
            del grads
        assert not any(isinstance(o, Node) for o in gc.get_objects())
        assert len(gc.get_objects()) - before < 100
    finally:
        gc.enable()


def test_the_graph_is_freed_with_its_last_tensor_and_saved_values_by_backward() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    inner = weakref.ref(y)
    del y
    assert inner() is not None  # saved for the gradient of the product
    z.backward()
    assert inner() is None
    node = weakref.ref(z.node)
    del z
    assert node() is None


def test_threads_record_independently() -> None:
    w = leaf(2.0)
    results: dict[int, float] = {}

    def work(i: int) -> None:
        with cg.no_grad():
            assert not (w * 1).requires_grad
        total = 0.0
        for k in range(200):
            x = leaf(float(i + k))
            total += cg.grad((x * x * w).sum(), x).item()
        results[i] = total

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    assert cg.is_grad_enabled()
    for t in threads:
        t.join()
    assert results == {i: sum(4.0 * (i + k) for k in range(200)) for i in range(8)}


def test_threads_accumulate_into_one_leaf() -> None:
    w = leaf(1.0)
    threads = [threading.Thread(target=lambda: [(w * 1.0).sum().backward() for _ in range(100)]) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert w.grad.item() == 800.0
