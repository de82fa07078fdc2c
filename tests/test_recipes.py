"""Results of cheap ops are computed again for the backward pass: what is kept, gradients, versions, lifetimes."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import convgpu as cg
from convgpu.autograd import Recipe
from convgpu.gradients import reachable

LARGE = (512, 600)  # more than a MiB of float32
_names = itertools.count()


class Watched:
    """An op y = x**2 whose forward function counts its calls; its rule names x, so that x is kept in any case."""

    def __init__(self, cheap: bool = True, from_output: bool = False):
        self.calls, self.arrays = 0, []

        def forward(x: Any) -> Any:
            self.calls += 1
            y = x * x
            self.arrays.append(weakref.ref(y))
            return y

        self.op = cg.Op(f"watched_{next(_names)}", "x -> y", forward, cheap=cheap)
        if from_output:  # y = x^2, x > 0
            self.op.vjp(x=lambda g, y: g * 2 * y**0.5)
        else:
            self.op.vjp(x=lambda g, x: g * 2 * x)

    def alive(self) -> int:
        """How many of the results still take memory."""
        return sum(y() is not None for y in self.arrays)


def draw(seed: int = 0, shape: tuple[int, ...] = LARGE) -> cg.Tensor:
    return cg.tensor(np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32), requires_grad=True)


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Iterator[None]:
    """What is freed must be freed by reference counts alone."""
    gc.disable()
    yield
    gc.enable()


def test_a_consumer_keeps_the_recipe_and_not_the_result() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    y = square.op(x)
    z = y * w
    assert type(z.node.saved["a"][0]) is Recipe
    del y
    assert (square.calls, square.alive()) == (1, 0)
    z.sum().backward()
    assert (square.calls, square.alive()) == (2, 0)
    kept = Watched(cheap=False)
    x2, w2 = draw(), draw(1)
    z = kept.op(x2) * w2
    assert kept.alive() == 1
    z.sum().backward()
    assert kept.calls == 1
    assert np.array_equal(x.grad.numpy(), x2.grad.numpy()) and np.array_equal(w.grad.numpy(), w2.grad.numpy())


def test_it_is_computed_with_the_settings_of_the_first_time() -> None:
    seen = []

    def forward(x: np.ndarray) -> np.ndarray:
        seen.append((cg.current_backend(), cg.current_precision(), cg.workspace_limit()))
        return x * x

    square = cg.Op(f"square_{next(_names)}", "x -> y", forward, cheap=True).vjp(x=lambda g, x: g * 2 * x)
    before = cg.current_backend()
    with cg.use_backend("reference"), cg.set_precision("tf32"), cg.set_workspace_limit(5):
        z = square(draw()) * draw(1)
    z.sum().backward()
    assert seen == [("reference", "tf32", 5)] * 2 and cg.current_backend() == before


def test_a_result_that_somebody_holds_is_taken() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    y = square.op(x)
    gw, = cg.grad((y * w).sum(), [w])
    assert square.calls == 1 and np.array_equal(gw.numpy(), y.numpy())


def test_small_results_are_kept() -> None:
    square = Watched()
    x, w = draw(shape=(512,)), draw(1, (512,))
    (square.op(x) * w).sum().backward()
    assert square.calls == 1


def test_a_rule_that_names_the_output_keeps_it_unless_the_input_is_computed_again() -> None:
    """Keeping the input instead of the output would save nothing and cost a pass."""
    root = Watched(from_output=True)
    x, w = draw(), draw(1)
    (root.op(x) * w).sum().backward()
    assert root.calls == 1 and np.allclose(x.grad.numpy(), (2 * x * w).numpy(), rtol=1e-6)
    inner, outer = Watched(), Watched(from_output=True)
    x, w = draw(), draw(1)
    z = outer.op(inner.op(x)) * w
    assert inner.alive() == outer.alive() == 0
    z.sum().backward()
    assert (inner.calls, outer.calls) == (2, 2)
    assert np.allclose(x.grad.numpy(), (4 * x**3 * w).numpy(), rtol=1e-5)


def test_several_consumers_share_one_computation_which_ends_with_the_last_of_them() -> None:
    square = Watched()
    x, w, v = draw(), draw(1), draw(2)
    seen = []
    probe = cg.Op(f"probe_{next(_names)}", "x -> y", lambda x: x * 1).vjp(
        x=lambda g: seen.append(square.alive()) or g)
    y = square.op(probe(x))
    z = (y * w) * (y * v)
    del y
    z.sum().backward()
    assert square.calls == 2 and seen == [0]
    assert np.allclose(x.grad.numpy(), (4 * x**3 * w * v).numpy(), rtol=1e-5)


def test_a_value_is_not_held_until_its_own_op_is_reached() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    alive = []
    between = cg.Op(f"between_{next(_names)}", "x -> y", lambda x: x * 1).vjp(
        x=lambda g: alive.append(square.alive()) or g)
    y = square.op(x)
    side = between(x)  # recorded after the square and before its consumer, so that the walk visits it in between
    z = y * w + side
    del y, side
    z.sum().backward()
    assert square.calls == 2 and alive == [0]


def test_chains_are_computed_through_and_long_ones_keep_some_results() -> None:
    chain = [cg.Op(f"link_{next(_names)}", "x -> y", lambda x: x * np.float32(1.01), cheap=True).vjp(
        x=lambda g, x: g * np.float32(1.01)) for _ in range(600)]
    x = draw()
    y = x
    for op in chain:
        y = op(y)
    kept = sum(type(node.saved["x"][0]) is not Recipe for node in nodes_behind(y))
    assert 600 / 5 <= kept <= 600 / 4
    y.sum().backward()
    assert np.allclose(x.grad.numpy(), 1.01**600, rtol=1e-3)


def nodes_behind(y: cg.Tensor) -> list[Any]:
    nodes, node = [], y.node
    while not isinstance(node, cg.Tensor):
        nodes.append(node)
        node = node.edges[0]
    return nodes


def test_derivatives_of_second_order_lead_through_what_was_computed_again() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    z = (square.op(x) * w).sum()  # z = x^2 w
    gw, gx = cg.grad(z, [w, x], create_graph=True)
    mixed, = cg.grad(gw.sum(), [x], retain_graph=True)
    assert np.allclose(mixed.numpy(), (2 * x).numpy())
    twice, = cg.grad(gx.sum(), [x])
    assert np.allclose(twice.numpy(), (2 * w).numpy())


def test_retain_graph_computes_again_in_each_pass() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    z = (square.op(x) * w).sum()
    first = cg.grad(z, [x, w], retain_graph=True)
    second = cg.grad(z, [x, w])
    assert square.calls == 3 and square.alive() == 0
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(first, second))
    with pytest.raises(RuntimeError, match="graph was freed by an earlier backward"):
        cg.grad(z, [x])


def test_a_recipe_outlives_the_backward_pass_of_another_graph() -> None:
    square = Watched()
    x, w, v = draw(), draw(1), draw(2)
    y = square.op(x)
    a, b = (y * w).sum(), (y * v).sum()
    del y
    a.backward()  # frees what the square had saved
    gv, = cg.grad(b, [v])
    assert np.allclose(gv.numpy(), np.square(x.numpy()))


def test_a_consumer_that_is_recorded_after_a_backward_pass_keeps_the_result() -> None:
    square = Watched()
    x, w, v = draw(), draw(1), draw(2)
    y = square.op(x)
    (y * w).sum().backward()
    z = (y * v).sum()
    del y
    gv, = cg.grad(z, [v])
    assert square.calls == 1 and np.allclose(gv.numpy(), np.square(x.numpy()))


def test_an_input_that_assign_has_changed_is_an_error() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    z = (square.op(x) * w).sum()
    x.assign(np.zeros(LARGE))
    with pytest.raises(RuntimeError, match=r"backward through watched_\d+: its input 'x' .* was changed by assign\(\)"):
        cg.grad(z, [w])


def test_a_result_that_assign_has_changed_is_computed_again_from_its_inputs() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    y = square.op(x)
    z = (y * w).sum()
    y.assign(np.zeros(LARGE))
    gw, = cg.grad(z, [w])
    assert square.calls == 2 and np.allclose(gw.numpy(), np.square(x.numpy()))


def test_only_what_the_wanted_rules_need_is_computed_again() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    z = (square.op(x) * w).sum()
    cg.grad(z, [x])  # needs w alone
    assert square.calls == 1


def test_an_op_over_a_sequence_and_options_and_constants() -> None:
    calls = []

    def forward(xs: list, scale: float) -> Any:
        calls.append(scale)
        return xs[0] * xs[1] * scale

    product = cg.Op(f"product_{next(_names)}", "*xs; scale -> y", forward, cheap=True).vjp_jointly(
        lambda g, wanted, xs, scale: [g * x * scale if w else None for x, w in zip(xs[::-1], wanted)])
    a, b, w = draw(), draw(1).detach(), draw(2)
    z = (product([a, b], 3.0) * w).sum()
    ga, gw = cg.grad(z, [a, w])
    assert calls == [3.0, 3.0]
    assert np.allclose(ga.numpy(), 3 * (b * w).numpy()) and np.allclose(gw.numpy(), 3 * (a * b).numpy())


def test_a_failing_backward_pass_leaves_nothing_behind() -> None:
    square = Watched()
    x, w = draw(), draw(1)
    bad = cg.Op(f"bad_{next(_names)}", "x -> y", lambda x: x * 1).vjp(x=lambda g: g.sum())
    z = (square.op(bad(x)) * w).sum()
    with pytest.raises(AssertionError, match="rule of bad"):
        z.backward(retain_graph=True)
    assert square.alive() == 0


def kept_arrays(z: cg.Tensor) -> int:
    """How many arrays the graph of z keeps, leaves aside."""
    arrays = {}
    for node in reachable([z]):
        for value in node.saved.values():
            value = value[0] if isinstance(value, tuple) else value
            if isinstance(value, cg.Tensor) and not value.is_leaf:
                value = value.array
            if isinstance(value, np.ndarray):
                whole = value if value.base is None else value.base
                arrays[id(whole)] = whole
    return len(arrays)


@pytest.mark.parametrize("activation, kept", [
    (cg.silu, 1), (cg.leaky_relu, 1), (cg.relu, 1), (lambda x: cg.relu(cg.silu(x)), 1),
    (lambda x: cg.silu(x).astype("float16").astype("float32"), 1), (cg.softplus, 2),
])
def test_how_many_arrays_an_activation_between_two_products_keeps(activation, kept) -> None:
    x, v, w = draw(0, (1024, 512)), draw(1, (512, 512)), draw(2, (512, 512))
    z = cg.matmul(activation(cg.matmul(x, v)), w)
    assert kept_arrays(z) == kept
    assert len(cg.grad(z.sum(), [v, w])) == 2


def test_an_epilogue_that_is_not_there_keeps_no_output() -> None:
    x, w = cg.ones((1, 4, 4, 1), requires_grad=True), cg.ones((3, 3, 1, 1), requires_grad=True)
    assert set(cg.conv(x, w).node.saved) == {"x", "w", "geo"}
    assert set(cg.conv(x, w, activation="relu").node.saved) == {"x", "w", "geo", "y", "activation"}
    assert kept_arrays(cg.linear(x, cg.ones((1, 3), requires_grad=True))) == 1  # the matrix that x is there


def test_an_epilogue_is_declared_by_a_static_argument_that_the_step_takes() -> None:
    with pytest.raises(ValueError, match=r"expected epilogue to be one of \('act',\), got 'x'"):
        cg.Op("broken", "x; act -> y").pull_back(lambda g, act: g, "x")
    with pytest.raises(ValueError, match="expected a step that takes its epilogue 'act', got one over"):
        cg.Op("broken", "x; act -> y").pull_back(lambda g, y: g, "act")
