"""remat: the gradients of the function itself, nothing kept between, and a second run that finds what the first did."""

from __future__ import annotations

import functools
import gc
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import convgpu as cg
import convgpu.numpy as cnp
from convgpu.gradients import reachable


def draw(*shape: int, seed: int = 0, grad: bool = True) -> cg.Tensor:
    return cg.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=grad)


def assert_same_gradients(f: Any, *inputs: cg.Tensor, outside: tuple[cg.Tensor, ...] = ()) -> None:
    """Bits of f and of its gradients, with and without remat."""
    plain, again = f(*inputs), cg.remat(f)(*inputs)
    assert np.array_equal(plain.numpy(), again.numpy()) and plain.dtype == again.dtype
    seed = np.random.default_rng(9).standard_normal(plain.shape)
    targets = [*inputs, *outside]
    for expected, got in zip(*[cg.grad(y, targets, seed, retain_graph=True) for y in (plain, again)], strict=True):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_the_gradients_of_arguments_and_of_tensors_that_the_function_closes_over() -> None:
    w = draw(4, 4, seed=1)
    assert_same_gradients(lambda x: cg.tanh(cg.tanh(x @ w) @ w), draw(3, 4), outside=(w,))
    x, w = draw(3, 4), draw(4, 4, seed=1)
    cg.remat(lambda x: cg.tanh(x @ w))(x).sum().backward()
    a, v = draw(3, 4), draw(4, 4, seed=1)
    cg.tanh(a @ v).sum().backward()
    assert np.array_equal(x.grad.numpy(), a.grad.numpy()) and np.array_equal(w.grad.numpy(), v.grad.numpy())


def test_the_function_runs_once_forward_and_once_backward_and_keeps_its_arguments_alone() -> None:
    calls = []

    def block(x: cg.Tensor) -> cg.Tensor:
        calls.append(1)
        for _ in range(10):
            x = cg.tanh(x * 0.5)
        return x

    x = draw(300, 300)
    tracemalloc.start()
    try:
        y = cg.remat(block)(x)
        kept, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(calls) == 1
    assert kept < 1.1 * x.nbytes and highest < 4.1 * x.nbytes  # neither afterwards nor meanwhile
    assert [node.op.name for node in reachable([y])] == ["remat", "remat_result"]
    y.sum().backward()
    assert len(calls) == 2


def test_a_tensor_outside_that_depends_on_an_argument_counts_once() -> None:
    x = draw(3)
    h = x * x  # reaches the function by its closure, and x as an argument
    assert_same_gradients(lambda x: x * h * h, x, outside=())
    gx, gh = cg.grad(cg.remat(lambda x: x * h * h)(x).sum(), [x, h])
    np.testing.assert_allclose(gx.numpy(), 5 * x.numpy()**4)
    np.testing.assert_allclose(gh.numpy(), 2 * (x * h).numpy())


def test_one_tensor_as_argument_and_in_the_closure_and_twice_as_argument() -> None:
    x = draw(3)
    assert_same_gradients(lambda a: a * x, x)
    assert_same_gradients(lambda a, b: a * b * b, x, x)


def test_trees_options_and_other_values_go_in_and_out() -> None:
    def block(p: dict, *, scale: float, rest: tuple) -> dict:
        y = p["w"][0] * scale + rest[1]
        return {"y": y, "n": 3, "more": [cg.exp(y), None, p["k"] + 1], "constant": cg.ones(2)}

    w, b = draw(3), draw(3, seed=1)
    k = cg.tensor([1, 2])
    out = cg.remat(block)({"w": [w], "k": k}, scale=2.0, rest=("name", b))
    assert out["n"] == 3 and out["more"][1] is None and out["more"][2].tolist() == [2, 3]
    assert not out["constant"].requires_grad
    plain = block({"w": [w], "k": k}, scale=2.0, rest=("name", b))
    for result, other in ((out, plain),):
        got = cg.grad([result["y"].sum(), (result["more"][0] ** 2).sum()], [w, b])
        expected = cg.grad([other["y"].sum(), (other["more"][0] ** 2).sum()], [w, b])
        assert all(np.array_equal(g.numpy(), e.numpy()) for g, e in zip(got, expected))
    # one of the results alone, and a result that is used twice
    out = cg.remat(block)({"w": [w], "k": k}, scale=2.0, rest=("name", b))
    gw, = cg.grad((out["more"][0] * out["more"][0]).sum(), [w])
    np.testing.assert_allclose(gw.numpy(), 4 * np.exp(2 * (2 * w + b).numpy()))


def test_results_that_are_arguments_or_tensors_of_the_closure() -> None:
    x, w = draw(3), draw(3, seed=1)
    a, b = cg.remat(lambda x: (x, w))(x)
    gx, gw = cg.grad((a * a * b).sum(), [x, w])
    np.testing.assert_allclose(gx.numpy(), (2 * x * w).numpy())
    np.testing.assert_allclose(gw.numpy(), (x * x).numpy())


def test_without_gradients_the_function_runs_as_it_is() -> None:
    x = draw(3)
    with cg.no_grad():
        assert not cg.remat(lambda x: x * 2)(x).requires_grad
    y = cg.remat(lambda x: x * 2)(x.detach())
    assert not y.requires_grad and y.is_leaf
    z = cg.remat(lambda x: (x * 2).detach())(x)
    assert not z.requires_grad
    unused = draw(2, seed=1)
    cg.remat(lambda x, u: (x * 2, u * 2)[0])(x, unused).sum().backward()
    assert unused.grad is None and x.grad.tolist() == [2.0] * 3


def test_random_numbers_are_the_same_and_drawn_once_for_others() -> None:
    def block(x: cg.Tensor, generator: Any) -> cg.Tensor:
        return cg.dropout(cg.exp(x), 0.5, generator=generator)

    for make in (np.random.default_rng, lambda seed: np.random.Generator(np.random.MT19937(seed))):
        x = draw(50)
        plain, again = make(3), make(3)
        closed = cg.remat(functools.partial(block, generator=again))  # not among the arguments
        expected, got = block(x, plain), closed(x)
        after = again.bit_generator.state
        ge, gg = cg.grad(expected.sum(), x), cg.grad(got.sum(), x)
        assert np.array_equal(ge.numpy(), gg.numpy()) and np.array_equal(expected.numpy(), got.numpy())
        assert plain.random() == again.random() and after is not None
    generator = np.random.default_rng(0)
    direct = cg.remat(lambda x, g: x * g.standard_normal(50))(x, generator)  # NumPy's own functions, as an argument
    expected = np.random.default_rng(0).standard_normal(50)
    assert np.array_equal(cg.grad(direct.sum(), x).numpy(), expected)


def test_what_the_function_assigns_is_set_back_for_the_second_run_and_happens_once() -> None:
    seed, mean = cg.tensor(1.0, dtype="float64"), cg.tensor(0.0, dtype="float64")

    def block(x: cg.Tensor) -> cg.Tensor:
        factor = seed.item()
        seed.assign(seed * 10)
        mean.assign(mean * 0.5 + x.detach().mean() * 0.5)
        return x * factor

    x = draw(4)
    block_again = cg.remat(block)
    a, b = block_again(x), block_again(x)
    versions, average = (seed.version, mean.version), mean.item()
    gx = cg.grad((a + b).sum(), x)
    assert gx.tolist() == [1.0 + 10.0] * 4
    assert (seed.item(), mean.item(), seed.version, mean.version) == (100.0, average, *versions)


def meanwhile(work: Any) -> None:
    """Let another thread do something, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_no_other_thread_sees_the_values_of_the_second_run() -> None:
    mean, own = cg.tensor(1.0, dtype="float64"), cg.Generator(5)
    numpys = np.random.default_rng(5)
    seen: list = []

    def elsewhere() -> None:
        seen.append((mean.item(), mean.version, own.state[2].item(), numpys.bit_generator.state["state"]))
        mean.assign(mean * 3)
        own.uniform(4, dtype="float64")
        numpys.random()

    def block(x: cg.Tensor) -> cg.Tensor:
        factor = mean.item()
        mean.assign(mean * 10)
        y = cg.dropout(cg.dropout(x * factor, 0.5, generator=own), 0.5, generator=numpys)
        if len(runs) == 1:
            meanwhile(elsewhere)
        runs.append(mean.item())
        return y

    x, runs = draw(40), []
    y = cg.remat(block)(x)
    runs[:] = [0]
    expected = (mean.item(), mean.version, own.state[2].item(), numpys.bit_generator.state["state"])
    g, = cg.grad(y.sum(), [x])
    assert seen == [expected] and runs == [0, 10.0]
    assert np.array_equal((g.numpy() * x.numpy()), y.numpy())  # the same masks and the same factor
    assert (mean.item(), mean.version, own.state[2].item()) == (30.0, 2, expected[2] + 2)  # the other thread's stay
    assert type(mean) is cg.Tensor and type(own) is cg.Generator
    other = np.random.default_rng(5)
    cg.dropout(x, 0.5, generator=other)
    other.random()
    assert numpys.random() == other.random()


def test_two_threads_run_one_function_again_at_once() -> None:
    mean = cg.tensor(1.0, dtype="float64")
    both = threading.Barrier(2)
    second = threading.local()

    def block(x: cg.Tensor) -> cg.Tensor:
        before = mean.item()
        if second.run:
            both.wait()
        mean.assign(mean + 1)
        if second.run:
            both.wait()
        return x * (before * 100 + mean.item())

    results, x = {}, draw(3)

    def work(y: cg.Tensor, i: int) -> None:
        second.run = True
        results[i] = cg.grad(y.sum(), x)

    second.run = False
    ys = [cg.remat(block)(x) for _ in range(2)]
    threads = [threading.Thread(target=work, args=(y, i)) for i, y in enumerate(ys)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [results[i].tolist() for i in range(2)] == [[102.0] * 3, [203.0] * 3]
    assert mean.item() == 3.0 and type(mean) is cg.Tensor


def test_the_second_run_finds_the_settings_of_the_first_and_no_other_thread_does() -> None:
    seen, x = [], draw(3)

    def now() -> None:
        seen.append((cg.current_backend(), cg.current_precision(), cg.workspace_limit()))

    def block(x: cg.Tensor) -> cg.Tensor:
        now()
        with cg.set_precision("float32"):
            now()
        now()
        meanwhile(now)
        return x * x

    with cg.use_backend("reference"), cg.set_precision("tf32"), cg.set_workspace_limit(5):
        y = cg.remat(block)(x)
    then, within = ("reference", "tf32", 5), ("reference", "float32", 5)
    default = (cg.current_backend(), "float32", None)
    assert seen == [then, within, then, then]
    seen.clear()
    y.sum().backward()
    assert seen == [then, within, then, default]
    seen.clear()
    now()
    assert seen == [default]


def test_nested() -> None:
    w = draw(4, 4, seed=1)
    inner = cg.remat(lambda x: cg.tanh(x @ w))
    calls = []

    def block(x: cg.Tensor, f: Any) -> cg.Tensor:
        calls.append(1)
        return cg.exp(f(f(x)) * 0.1)

    x, v = draw(3, 4), w
    got = cg.grad(cg.remat(lambda x: block(x, inner))(x).sum(), [x, w])
    assert len(calls) == 2
    expected = cg.grad(block(x, lambda x: cg.tanh(x @ v)).sum(), [x, w])
    assert all(np.array_equal(g.numpy(), e.numpy()) for g, e in zip(got, expected))


def test_derivatives_of_any_order() -> None:
    w = draw(3, 3, seed=1)
    block = cg.remat(lambda x: (cg.tanh(x @ w), cg.exp(x * 0.3)))
    assert cg.check_grad(lambda x: block(x)[0] * block(x)[1], draw(2, 3, grad=False), order=2) < 1e-7
    images = w.detach()
    assert cg.check_grad(lambda v: cg.remat(lambda x: cg.tanh(x @ v))(images), draw(3, 3, grad=False), order=2) < 1e-7
    x = draw(3)
    d = cg.remat(lambda x: x**5)(x).sum()
    for factor in (5, 20, 60):
        d = cg.grad(d, x, create_graph=True).sum()
        power = {5: 4, 20: 3, 60: 2}[factor]
        np.testing.assert_allclose(d.item(), factor * (x.numpy()**power).sum())


def test_value_and_grad_around_and_within() -> None:
    def penalised(x: cg.Tensor) -> cg.Tensor:
        value, g = cg.value_and_grad(lambda x: (x**3).sum())(x)
        return value + (g**2).sum()

    x = cg.tensor([2.0, -1.0], dtype="float64")
    expected, got = cg.value_and_grad(penalised)(x), cg.value_and_grad(cg.remat(penalised))(x)
    assert expected[0].item() == got[0].item() and np.array_equal(expected[1].numpy(), got[1].numpy())
    with pytest.raises(RuntimeError, match="expected value_and_grad for gradients within a function of remat"):
        cg.remat(lambda x: cg.grad((x**3).sum(), x))(draw(2))


def test_passes_with_retain_graph_and_a_graph_that_was_freed() -> None:
    x = draw(3)
    y = cg.remat(lambda x: x * x)(x).sum()
    first, second = cg.grad(y, x, retain_graph=True), cg.grad(y, x)
    assert first.tolist() == second.tolist() == (2 * x).tolist()
    with pytest.raises(RuntimeError, match="graph was freed by an earlier backward"):
        y.backward()


def test_exceptions_leave_the_tape_as_it_was() -> None:
    x, runs = draw(3), []

    def block(x: cg.Tensor, fail_at: int) -> cg.Tensor:
        runs.append(1)
        if len(runs) == fail_at:
            raise ZeroDivisionError
        return x * x

    state = cg.tensor(1.0)
    with pytest.raises(ZeroDivisionError):
        cg.remat(block)(x, 1)
    assert (x * x).node.saved is not None  # recorded in full again
    y = cg.remat(lambda x: (state.assign(2.0), block(x, 3))[1])(x)
    state.assign(5.0)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward()
    assert state.item() == 5.0


def test_inputs_that_assign_has_changed() -> None:
    x, w = draw(3), draw(3, seed=1)
    for changed in (x, w):
        y = cg.remat(lambda x: x * w)(x).sum()
        changed.assign(np.ones(3))
        with pytest.raises(RuntimeError, match=r"backward through remat: its input 'xs' .* changed by assign\(\)"):
            y.backward()
        changed.requires_grad_()


def test_half_types_and_other_dtypes_of_results() -> None:
    x = cg.tensor(np.linspace(-1, 1, 5), dtype="bfloat16", requires_grad=True)
    wide, narrow = cg.remat(lambda x: (x.astype("float32") * 3, x * 2))(x)
    (wide.sum() + narrow.sum().astype("float32")).backward()
    assert x.grad.dtype == x.dtype and x.grad.tolist() == [5.0] * 5


def test_threads_and_memory() -> None:
    w = draw(8, 8, seed=1)
    block = cg.remat(lambda x: cg.tanh(x @ w) @ w)
    expected = cg.grad(block(draw(4, 8)).sum(), w).numpy()
    results = []
    threads = [threading.Thread(target=lambda: results.append(cg.grad(block(draw(4, 8)).sum(), w).numpy()))
               for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 4 and all(np.array_equal(r, expected) for r in results)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(50):
            cg.grad(block(draw(4, 8)).sum(), w)
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()


def test_the_function_keeps_its_name_and_text() -> None:
    def block(x: Any) -> Any:
        """Twice x."""
        return x * 2

    assert (cg.remat(block).__name__, cg.remat(block).__doc__) == ("block", "Twice x.")
    assert cg.remat(functools.partial(block))(cg.ones(2)).tolist() == [2.0, 2.0]
    assert cnp.sum(cg.remat(block)(draw(2))).requires_grad
