"""convgpu.capture: arguments, donation, what is refused, and that everything else is as without it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import convgpu as cg
from convgpu import optim
from convgpu.capturing.region import CaptureError
from convgpu.examples import lenet5

DATA = np.random.default_rng(0)
X = [DATA.standard_normal((4, 3)).astype(np.float32) for _ in range(6)]


def mean_square(w: Any, x: Any) -> Any:
    return ((cg.tensor(x) if isinstance(x, np.ndarray) else x) @ w["w"] + w["b"]).var() + (w["w"]**2).mean()


def start() -> dict[str, Any]:
    return {"w": cg.tensor(np.full((3, 2), 0.5, np.float32)), "b": cg.tensor(np.zeros(2, np.float32))}


def bits(t: Any) -> list[bytes]:
    return [x.numpy().tobytes() for x in cg.tree.leaves(t)]


def training_step(optimizer: Any) -> Any:
    def step(params: Any, x: Any) -> Any:
        loss, grads = cg.value_and_grad(mean_square)(params, x)
        return optimizer.step(params, grads), loss

    return step


OPTIMIZERS = {
    "sgd": lambda: optim.SGD(lr=optim.cosine(0.1, 10, warmup=2), momentum=0.9),
    "adam": lambda: optim.Adam(lr=optim.step_decay(0.1, 2), clip_norm=0.5),
    "adamw, loss scale": lambda: optim.AdamW(lr=0.1, loss_scale=optim.LossScale(8.0)),
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_training_is_that_without_capture(make: str, check: bool) -> None:
    ours, plain = OPTIMIZERS[make](), OPTIMIZERS[make]()
    step, eager = cg.capture(training_step(ours), check=check), training_step(plain)
    params, expected = start(), start()
    for x in X:
        params, loss = step(params, cg.tensor(x))
        expected, theirs = eager(expected, cg.tensor(x))
        assert bits((params, loss)) == bits((expected, theirs))
    assert ours.steps == plain.steps == len(X)
    assert len(step.graphs) == 1 and step.graphs[0].calls == len(X)
    np.testing.assert_equal(ours.state_dict(), plain.state_dict())


def test_a_learning_rate_that_is_set_needs_no_new_graph() -> None:
    optimizer = optim.SGD(lr=0.1)
    step = cg.capture(training_step(optimizer), max_graphs=1)
    params = start()
    for lr in (0.1, 0.0):
        optimizer.lr = lr
        before = bits(params)
        params, _ = step(params, X[0])
    assert bits(params) == before


def test_lenet_with_dropout_draws_on() -> None:
    generator, twin = cg.Generator(3), cg.Generator(3)
    init = lenet5.initial((32, 32, 1), 10)
    images, labels = DATA.standard_normal((2, 32, 32, 1)).astype(np.float32), np.array([1, 7])

    def step_with(source: Any) -> Any:
        def step(params: Any, x: Any, y: Any) -> Any:
            dropped = cg.dropout(x, 0.5, generator=source)
            loss, grads = cg.value_and_grad(lambda p: lenet5.loss(p, dropped, y)[0])(params)
            return cg.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

        return step

    step, eager = cg.capture(step_with(generator)), step_with(twin)
    params = cg.tree.map(lambda p: cg.tensor(p), init)
    for _ in range(2):
        params, loss = step(params, cg.tensor(images), cg.tensor(labels))
        init, expected = eager(init, cg.tensor(images), cg.tensor(labels))
        assert bits((params, loss)) == bits((init, expected))
    assert bits(generator.state) == bits(twin.state)


# --- donation


def test_a_donated_tensor_raises() -> None:
    step = cg.capture(lambda s: cg.tree.map(lambda t: t + 1, s))
    given = {"a": cg.tensor([1.0, 2.0])}
    taken = step(given)
    for use in (lambda: given["a"] + 1, lambda: given["a"].shape, lambda: given["a"].numpy(), lambda: step(given),
                lambda: given["a"].assign([1.0, 2.0]), lambda: cg.exp(given["a"])):
        with pytest.raises(RuntimeError, match="donated to <lambda> in .*test_capture.py:"):
            use()
    assert "donated" in repr(given["a"])
    assert taken["a"].tolist() == [2.0, 3.0]


def test_only_what_is_donated_is_taken() -> None:
    kept, given, x = cg.tensor(1.0), cg.tensor(2.0), cg.tensor(3.0)
    assert cg.capture(lambda a, b, c: a + b + c, donate=1)(kept, given, x).item() == 6
    assert kept.item() == 1 and x.item() == 3 and "donated" in repr(given)
    assert cg.capture(lambda a: a * 2, donate=())(kept).item() == 2 and kept.item() == 1
    assert cg.capture(lambda a, *, b: a * b)(kept, b=x).item() == 3 and x.item() == 3


def test_the_same_tensor_twice() -> None:
    w = cg.tensor(1.0)
    with pytest.raises(ValueError, match=r"expected each donated tensor once .* got it as s\['w'\] and as x"):
        cg.capture(lambda s, x: s)({"w": w}, w)
    assert w.item() == 1


def test_state_that_passes_through() -> None:
    step = cg.capture(lambda s: {"frozen": s["frozen"], "n": s["n"] + 1})
    state = {"frozen": cg.tensor([1.0]), "n": cg.tensor(0)}
    for _ in range(3):
        state = step(state)
    assert state["frozen"].tolist() == [1.0] and state["n"].item() == 3


# --- what is refused

READS = {
    "item": lambda x: x * x.item(), "float": lambda x: x * float(x), "bool": lambda x: x if x > 0 else -x,
    "int": lambda x: x * int(x), "print": lambda x: [print(x), x][1], "format": lambda x: [f"{x:.2f}", x][1],
    "numpy": lambda x: cg.tensor(x.numpy()), "np.asarray": lambda x: cg.tensor(np.asarray(x)),
    "tolist": lambda x: cg.tensor(x.tolist()), "assert": lambda x: [x, None][not x.isfinite] if x else x,
    "mask": lambda x: cg.tensor([1.0, 2.0])[cg.numpy.stack([x > 0, x > 0])],
    "nonzero": lambda x: cg.numpy.nonzero(x.reshape(1))[0], "unique": lambda x: cg.numpy.unique(x),
    "NumPy's generator": lambda x: cg.dropout(x.reshape(1), 0.5, generator=np.random.default_rng(0)),
    "in": lambda x: x if 1.0 in x else -x, "range": lambda x: [x for _ in range(x.astype("int32"))][0],
}


@pytest.mark.parametrize("what", READS)
def test_host_reads_name_their_line(what: str) -> None:
    x = cg.tensor(2.0)
    with pytest.raises(CaptureError, match=r"value on the host, in .*test_capture\.py:\d+; .* so "):
        cg.capture(READS[what])(x)
    assert x.item() == 2 and not cg.capture(READS[what]).graphs


def test_an_optimizer_of_ones_own_is_refused() -> None:
    class Own(optim.Optimizer):
        def update(self, p: Any, g: Any, *state: Any) -> Any:
            return p - self.lr * g

    with pytest.raises(CaptureError, match="Own.update"):
        cg.capture(training_step(Own(0.1)))(start(), X[0])


def test_gradients_are_taken_inside() -> None:
    f = cg.capture(lambda w: (w**2).sum(), donate=())
    for use in (lambda: cg.value_and_grad(f)(cg.tensor([1.0])), lambda: f(cg.tensor(2.0, requires_grad=True) * 2)):
        with pytest.raises(CaptureError, match="taken inside"):
            use()
    assert not f(cg.tensor([2.0], requires_grad=True)).requires_grad


def test_gradients_that_are_left_in_arguments() -> None:
    def step(w: Any) -> Any:
        (w**2).backward()
        return w - w.grad

    with pytest.raises(CaptureError, match="zero_grad"):
        cg.capture(step)(cg.tensor(2.0, requires_grad=True))

    def tidy(w: Any) -> Any:
        (w**2).backward()
        new = w.detach() - w.grad
        w.zero_grad()
        return new.requires_grad_()

    step = cg.capture(tidy)
    w = step(step(cg.tensor(2.0, requires_grad=True)))
    assert w.item() == 2 and w.requires_grad


# --- arguments


def test_graphs_are_told_apart() -> None:
    f = cg.capture(lambda x, n, flag=True: x * n, donate=())
    for args in ((cg.ones(2), 2), (cg.ones(2), 2.0), (cg.ones(3), 2), (cg.zeros(2), 2), (np.ones(2, np.float32), 2)):
        f(*args)
    f(cg.ones(2), n=2)
    f(cg.ones(2), n=2, flag=False)
    assert [g.calls for g in f.graphs] == [4, 1, 1, 1]
    assert "float32 (2,) on the cpu" in f.graphs[0].arguments


@pytest.mark.parametrize("changes, words", [
    (lambda i: (cg.ones(2), i), r"argument n keeps changing: 0, 1, 2, 3; pass the number as a tensor"),
    (lambda i: (cg.ones(i + 1), 2), r"argument x keeps changing: float32 \(1,\) on the cpu, .*drop_last"),
    (lambda i: (cg.ones(2), object()), r"argument n keeps changing: object .* pass the same object"),
])
def test_too_many_graphs(changes: Any, words: str) -> None:
    f = cg.capture(lambda x, n: x, max_graphs=3, donate=())
    for i in range(3):
        f(*changes(i))
    with pytest.raises(ValueError, match=rf"at most max_graphs=3 .* since {words}"):
        f(*changes(3))
    assert len(f.graphs) == 3


@pytest.mark.parametrize("options", [{"donate": "a"}, {"donate": -1}, {"max_graphs": 0}, {"check": 1.5}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="capture"):
        cg.capture(lambda x: x, **options)
    with pytest.raises(TypeError, match="capture"):
        cg.capture(3)


def test_methods() -> None:
    class Model:
        def __init__(self) -> None:
            self.scale = cg.tensor(3.0)

        @cg.capture
        def step(self, s: Any, x: Any) -> Any:
            return s + self.scale * x

    model, other, s = Model(), Model(), cg.tensor(1.0)
    assert model.step(s, cg.tensor(2.0)).item() == 7 and "donated" in repr(s)
    assert len(model.step.graphs) == 1 and not other.step.graphs


# --- effects


def test_effects_of_a_run_with_an_error_are_taken_back() -> None:
    total, generator, average = cg.tensor(0.0), cg.Generator(1), optim.EMA(0.5)
    optimizer = optim.Adam(lr=0.1)
    average.update(start())

    def step(params: Any, x: Any, fails: bool) -> Any:
        params = optimizer.step(params, params)
        average.update(params)
        total.assign(total + x.sum() + generator.uniform(1).sum())
        if fails:
            raise KeyError("in the middle")
        return params

    captured = cg.capture(step)
    params = captured(start(), X[0], False)
    before = bits((params, total, generator.state, average.params)), optimizer.state_dict(), total.version
    with pytest.raises(KeyError):
        captured(params, X[0], True)
    after = bits((params, total, generator.state, average.params)), optimizer.state_dict(), total.version
    np.testing.assert_equal(after, before)
    assert len(captured.graphs) == 1
    captured(params, X[0], False)


def test_arguments_that_are_assigned() -> None:
    def step(s: Any, x: Any) -> Any:
        x.assign(x + s)
        return s + 1

    x = cg.tensor(1.0)
    for check in (False, True):
        cg.capture(step, check=check)(cg.tensor(2.0), x)
    assert x.item() == 5 and x.version == 2


def test_two_captured_steps_share_state() -> None:
    first, second = optim.SGD(lr=0.1, momentum=0.9), optim.Adam(lr=0.01)

    def game(one: Any, two: Any) -> Any:
        state, losses = {"g": start(), "d": start()}, []
        for x in X:
            state, loss = one(state, x)
            losses.append(loss)
            state, loss = two(state, x)
            losses.append(loss)
        return bits((state, losses))

    def turn(optimizer: Any, mine: str, other: str) -> Any:
        def step(state: Any, x: Any) -> Any:
            loss, g = cg.value_and_grad(lambda p: mean_square(p, x) + (p["w"] * state[other]["w"]).sum())(state[mine])
            return {**state, mine: optimizer.step(state[mine], g)}, loss

        return step

    expected = game(turn(first, "g", "d"), turn(second, "d", "g"))
    again = optim.SGD(lr=0.1, momentum=0.9), optim.Adam(lr=0.01)
    assert game(cg.capture(turn(again[0], "g", "d")), cg.capture(turn(again[1], "d", "g"))) == expected


def test_a_captured_function_within_another() -> None:
    inner = cg.capture(lambda s: s + 1)
    outer = cg.capture(lambda s: inner(inner(s)))
    assert outer(cg.tensor(1.0)).item() == 3
    assert not inner.graphs


def test_accumulated_gradients() -> None:
    plain = optim.accumulate(cg.value_and_grad(mean_square), 2)
    assert bits(cg.capture(plain, donate=())(start(), X[0])) == bits(plain(start(), cg.tensor(X[0])))


def test_threads() -> None:
    f = cg.capture(lambda s, x: s + x, max_graphs=1)
    results: list[float] = []

    def work(n: float) -> None:
        s = cg.tensor(0.0)
        for _ in range(50):
            s = f(s, cg.tensor(n))
        results.append(s.item())

    threads = [threading.Thread(target=work, args=(n,)) for n in (1.0, 2.0, 3.0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [50, 100, 150] and f.graphs[0].calls == 150


# --- check=True


def test_check_finds_constants_that_change() -> None:
    count = iter(range(100))
    drawn = np.random.default_rng(0)
    for f in (lambda x: x * next(count), lambda x: x + cg.tensor(drawn.standard_normal(2).astype(np.float32))):
        with pytest.raises(CaptureError, match=r"in .*test_capture\.py:\d+ has other constants"):
            cg.capture(f, check=True)(cg.ones(2))


def test_check_finds_numbers_that_change_between_calls() -> None:
    rate = [0.5]
    step = cg.capture(lambda x: x * rate[0], check=True)
    x = step(step(cg.ones(2)))
    rate[0] = 0.25
    with pytest.raises(CaptureError, match="has other constants in a later call|other constants"):
        step(x)


def test_check_finds_what_is_kept_elsewhere() -> None:
    log: list[Any] = []

    def step(s: Any) -> Any:
        y = s * 2
        log.append(y)
        return y + 1

    with pytest.raises(CaptureError, match=r"a result of multiply that is kept elsewhere, made in .*test_capture"):
        cg.capture(step, check=True)(cg.ones(2))


def test_ledger_of_a_graph() -> None:
    step = cg.capture(training_step(optim.SGD(lr=0.1, momentum=0.9)))
    params, _ = step(start(), X[0])
    graph = step.graphs[0]
    assert graph.launches == sum(row.launches for row in graph.rows) > 0 and graph.bytes > 0
    assert graph.memory_bytes == 0 and not graph.captured
    before = bits(params)
    assert bits(step(params, X[0])) != before
    found = cg.ledger(step, *cg.tree.map(lambda t: cg.spec(t.shape), (start(), X[0])))
    assert found.totals["launches"] == graph.launches
