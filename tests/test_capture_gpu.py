"""Captured functions on device "gpu": the stand-in records what CuPy and the emulated kernels run, and repeats it."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
from gpu_device import STAND_IN, stand_in  # noqa: F401 - a fixture

import convgpu as cg
from convgpu import optim
from convgpu.capturing.region import CaptureError
from convgpu.examples import data, lenet5

pytestmark = pytest.mark.usefixtures("stand_in")
DATA = np.random.default_rng(0)


def there(values: Any) -> Any:
    return cg.tree.map(lambda v: cg.tensor(v, device="gpu"), values)


def bits(values: Any) -> list[bytes]:
    return [x.numpy().tobytes() for x in cg.tree.leaves(values)]


def batches(steps: int, classes: int, shape: tuple[int, ...]) -> list[Any]:
    return [there((DATA.standard_normal(shape).astype(np.float32), DATA.integers(0, classes, shape[0])))
            for _ in range(steps)]


def trained(step: Any, state: Any, steps: Any, prepare: Any = None) -> list[Any]:
    found = []
    for i, batch in enumerate(steps):
        if prepare is not None:
            prepare(i)
        state, loss = step(state, *batch)
        found.append(bits((state, loss)))
    return found


def test_lenet5_equals_eager_execution() -> None:
    steps = batches(20, 10, (2, 32, 32, 1))

    def run(wrap: Any) -> Any:
        optimizer, source = optim.Adam(lr=optim.cosine(0.01, 20, warmup=3)), cg.Generator(5, device="gpu")

        def loss_of(params: Any, x: Any, y: Any) -> Any:
            return lenet5.loss(params, cg.dropout(x, 0.25, generator=source), y)[0]

        def step(params: Any, x: Any, y: Any) -> Any:
            loss, grads = cg.value_and_grad(loss_of)(params, x, y)
            return optimizer.step(params, grads), loss

        step = wrap(step)
        start = there(cg.tree.map(lambda t: t.numpy(), lenet5.initial((32, 32, 1), 10)))
        return step, trained(step, start, steps), bits(source.state), optimizer.steps

    step, *ours = run(cg.capture)
    assert ours == list(run(lambda f: f)[1:])
    graph, = step.graphs
    assert graph.captured and graph.calls == 20 and len(graph.recordings) == 1 and graph.memory_bytes > 0
    assert fake_cupy.device.captures == 1


def test_a_residual_network_with_batch_norm_equals_eager_execution() -> None:
    steps = batches(20, 3, (2, 6, 5, 3))
    start = {name: DATA.standard_normal(shape).astype(np.float32) * 0.2 for name, shape in (
        ("a", (3, 3, 3, 8)), ("b", (3, 3, 8, 8)), ("c", (8, 3)), ("scale", (8,)), ("offset", (8,)))}

    def run(wrap: Any) -> Any:
        mean, var = cg.zeros(8, device="gpu"), cg.ones(8, device="gpu")
        optimizer, average = optim.SGD(lr=0.1, momentum=0.9, clip_norm=1.0), optim.EMA(0.9)

        def loss_of(p: Any, x: Any, y: Any) -> Any:
            h = cg.conv2d(x, p["a"], padding="same")
            h, new_mean, new_var = cg.batch_norm(h, mean, var, p["scale"], p["offset"], training=True)
            mean.assign(new_mean)
            var.assign(new_var)
            h = cg.relu(h)
            h = cg.relu(cg.conv2d(h, p["b"], padding="same") + h)
            h = cg.dropout(cg.global_avg_pool2d(h).reshape(len(x), 8), 0.25)
            return cg.cross_entropy(h @ p["c"], y)

        def step(p: Any, x: Any, y: Any) -> Any:
            loss, grads = cg.value_and_grad(loss_of)(p, x, y)
            p = optimizer.step(p, grads)
            average.update(p)
            return p, loss

        def prepare(i: int) -> None:
            optimizer.lr = 0.1 / (1 + i)

        cg.seed(1)
        step = wrap(step)
        found = trained(step, there(start), steps, prepare)
        return step, found, bits((mean, var, average.params)), mean.version

    step, *ours = run(cg.capture)
    assert ours == list(run(lambda f: f)[1:])
    assert len(step.graphs) == 1 and fake_cupy.device.captures == 1


def test_two_steps_share_objects_and_state() -> None:
    given = [there(DATA.standard_normal((4, 3)).astype(np.float32)) for _ in range(8)]

    def run(wrap: Any) -> Any:
        total = cg.zeros((), device="gpu")
        first, second = optim.SGD(lr=0.1, momentum=0.9), optim.Adam(lr=0.01)

        def turn(optimizer: Any, mine: str, other: str) -> Any:
            def step(state: Any, x: Any) -> Any:
                loss, g = cg.value_and_grad(lambda p: ((x @ p) * (x @ state[other])).mean())(state[mine])
                total.assign(total + loss)
                return {**state, mine: optimizer.step(state[mine], g)}, loss

            return wrap(step)

        one, two = turn(first, "g", "d"), turn(second, "d", "g")
        state = there({"g": np.ones((3, 2), np.float32), "d": np.full((3, 2), 0.5, np.float32)})
        found = []
        for x in given:
            state, a = one(state, x)
            total.assign(total * 2)
            state, b = two(state, x)
            found.append(bits((state, a, b, total)))
        return found

    assert run(cg.capture) == run(lambda f: f)


def test_numbers_from_the_host_are_constants_and_arrays_are_inputs() -> None:
    f = cg.capture(lambda w, x: w * 2 + x + cg.tensor([1.0, 2.0], device="gpu"), donate=())
    w = cg.tensor([1.0, 1.0], device="gpu")
    for i in range(4):
        assert f(w, np.full(2, i, np.float32)).tolist() == [3.0 + i, 4.0 + i]
    assert f.graphs[0].captured


def test_tensors_of_closures_are_kept_and_what_is_assigned_to_them_is_seen() -> None:
    w, fixed = cg.tensor([1.0], device="gpu"), [cg.tensor([5.0], device="gpu")]
    f = cg.capture(lambda x: x * w + fixed[0], donate=())
    x = cg.tensor([2.0], device="gpu")
    assert [f(x).item() for _ in range(3)] == [7, 7, 7]
    for n in (2.0, 3.0, 4.0):
        w.assign([n])
        assert f(x).item() == 2 * n + 5
    fixed[0] = cg.tensor([100.0], device="gpu")  # a global that is replaced is not seen, as the docs say
    assert f(x).item() == 13 and len(f.graphs[0].recordings) == 1


def test_loaded_states_are_used() -> None:
    def run(wrap: Any) -> Any:
        optimizer, average = optim.Adam(lr=0.1, loss_scale=optim.LossScale(4.0)), optim.EMA(0.5)

        def step(w: Any, g: Any) -> Any:
            w = optimizer.step(w, g)
            return w, average.update(w)

        step, found, w = wrap(step), [], cg.ones(3, device="gpu")
        for i in range(9):
            if i == 4:
                saved = optimizer.state_dict()
            if i in (6, 8):
                optimizer.load_state_dict(saved)
            w, mean = step(w, cg.tensor([0.5, 1.0, i], device="gpu"))
            found.append(bits((w, mean)))
        return found, optimizer.steps

    assert run(cg.capture) == run(lambda f: f)


def test_gradients_that_accumulate_in_a_parameter() -> None:
    def run(wrap: Any) -> Any:
        w = cg.tensor([1.0, 2.0], device="gpu", requires_grad=True)
        add = wrap(lambda x: (w * x).sum().backward())
        update = wrap(lambda x: [w.assign(w - 0.1 * w.grad), w.zero_grad()][1])
        found = []
        for i in range(8):
            add(cg.tensor([1.0, float(i)], device="gpu"))
            if i % 2:
                update(cg.zeros(1, device="gpu"))
            found.append(bits([w] if w.grad is None else [w, w.grad]))
        return found

    assert run(lambda f: cg.capture(f, donate=())) == run(lambda f: f)


def test_leaves_that_the_function_makes() -> None:
    def step(x: Any) -> Any:
        w = x.detach().requires_grad_()
        (w * w).sum().backward()
        return w.grad

    f, x = cg.capture(step, donate=()), cg.tensor([1.0, 2.0], device="gpu")
    assert [f(x * i).tolist() for i in range(4)] == [[2.0 * i, 4.0 * i] for i in range(4)]
    assert f.graphs[0].captured


def test_changing_shapes_have_graphs_of_their_own() -> None:
    f = cg.capture(lambda s, x: s + x.sum())
    s = cg.zeros((), device="gpu")
    for n in (3, 3, 2, 3, 2, 2):
        s = f(s, cg.ones(n, device="gpu"))
    assert s.item() == 15 and [g.calls for g in f.graphs] == [3, 3] and all(g.captured for g in f.graphs)


@pytest.mark.parametrize("read", [lambda x: x * x.item(), lambda x: x if x > 0 else -x, lambda x: [print(x), x][1],
                                  lambda x: x.to("cpu")])
def test_host_reads(read: Any) -> None:
    with pytest.raises(CaptureError, match=r"value on the host, in .*test_capture_gpu\.py:\d+"):
        cg.capture(read)(cg.tensor(2.0, device="gpu"))


def test_a_wait_inside_cupy_is_refused() -> None:
    def step(x: Any) -> Any:
        return cg.Op("waits", "x -> y", lambda x: x * (2 if x.get() > 0 else 1))(x)

    f, x = cg.capture(step, donate=()), cg.tensor(2.0, device="gpu")
    f(x)
    with pytest.raises(CaptureError, match="waits, which waits for the GPU, needs a value on the host, in .*_gpu.py:"):
        f(x)
    assert not fake_cupy.device.capturing and x.item() == 2 and (x + 1).item() == 3


def test_an_error_while_recording_leaves_everything() -> None:
    total, source = cg.zeros((), device="gpu"), cg.Generator(1, device="gpu")
    optimizer, fails = optim.SGD(lr=0.1, momentum=0.5), [False, True, False, False]

    def step(w: Any, x: Any) -> Any:
        w = optimizer.step(w, x)
        total.assign(total + w.sum() + source.uniform(1).sum())
        if fails.pop(0):
            raise KeyError("in the middle")
        return w

    f = cg.capture(step)
    x = cg.ones(2, device="gpu")
    w = f(cg.ones(2, device="gpu"), x)
    before = bits((w, total, source.state)), optimizer.state_dict(), total.version
    with pytest.raises(KeyError):
        f(w, x)
    np.testing.assert_equal((bits((w, total, source.state)), optimizer.state_dict(), total.version), before)
    for _ in range(3):
        w = f(w, x)
    assert f.graphs[0].captured and optimizer.steps == 4


def test_out_of_memory_while_recording_is_retried_around_it() -> None:
    f, x = cg.capture(lambda s: s + 1), cg.zeros(2, device="gpu")
    x = f(x)
    fake_cupy.device.failing_allocations = 1
    frees = fake_cupy.device.frees
    assert f(x).tolist() == [2.0, 2.0] and fake_cupy.device.frees == frees + 1


def test_views_of_donated_tensors_are_found() -> None:
    f = cg.capture(lambda s: s + 1)
    s = f(f(f(cg.zeros(4, device="gpu"))))
    view = s.reshape(2, 2)
    with pytest.raises(CaptureError, match="another tensor is a view of"):
        f(s)
    assert view.tolist() == [[3.0, 3.0], [3.0, 3.0]] and s.tolist() == [3.0] * 4
    del view
    copy = cg.tensor(s)
    assert f(s).tolist() == [4.0] * 4 and copy.tolist() == [3.0] * 4


def test_two_chains_of_state() -> None:
    f = cg.capture(lambda s, x: s + x)
    one, two, x = cg.zeros(2, device="gpu"), cg.ones(2, device="gpu"), cg.ones(2, device="gpu")
    for _ in range(4):
        one, two = f(one, x), f(two, x)
    assert one.tolist() == [4.0, 4.0] and two.tolist() == [5.0, 5.0]
    view = one[:1]
    two = f(two, x)
    assert one.tolist() == [4.0, 4.0] and view.tolist() == [4.0] and two.tolist() == [6.0, 6.0]


def test_what_the_graph_swaps() -> None:
    f = cg.capture(lambda s: {"a": s["b"], "b": s["a"]})
    s = there({"a": np.array([1.0]), "b": np.array([2.0])})
    for _ in range(5):
        s = f(s)
    assert s["a"].tolist() == [2.0] and s["b"].tolist() == [1.0]


def test_results_stay_when_the_graph_runs_again() -> None:
    f = cg.capture(lambda w, x: (w, x * 2), donate=())
    w = cg.ones(2, device="gpu")
    results = [f(w, cg.tensor([float(i)], device="gpu"))[1] for i in range(5)]
    assert [r.item() for r in results] == [0, 2, 4, 6, 8]


def test_flags_of_a_graph_are_read_and_cleared() -> None:
    f = cg.capture(lambda x, y: cg.cross_entropy(x, y), donate=())
    x, good, bad = cg.ones((1, 3), device="gpu"), there(np.array([1])), there(np.array([7]))
    for _ in range(3):
        f(x, good).item()
    loss = f(x, bad)
    with pytest.raises(ValueError, match=r"labels in \[0, 3\)"):
        loss.item()
    assert np.isfinite(f(x, good).item())


def test_threads() -> None:
    f = cg.capture(lambda s, x: s + x, max_graphs=1)
    f(f(cg.zeros((), device="gpu"), cg.zeros((), device="gpu")), cg.zeros((), device="gpu"))
    results: list[float] = []

    def work(n: float) -> None:
        s, x = cg.zeros((), device="gpu"), cg.tensor(n, device="gpu")
        for _ in range(20):
            s = f(s, x)
        results.append(s.item())

    threads = [threading.Thread(target=work, args=(n,)) for n in (1.0, 2.0)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [20, 40]


def test_nothing_is_left_after_many_captures() -> None:
    x = cg.ones(4, device="gpu")
    gone: list[Any] = []
    for _ in range(1000):
        f = cg.capture(lambda s: s * 2 + 1, donate=())
        f(x)
        f(x)
        gone.append(weakref.ref(f.graphs[0].recordings[0]))
        gone.append(weakref.ref(f.graphs[0].recordings[0].pool))
    del f
    gc.collect()
    assert fake_cupy.device.captures == 1000 and all(r() is None for r in gone)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_example_trains_by_a_graph(dtype: str, tmp_path: Path) -> None:
    images, labels = DATA.integers(0, 255, (5, 16, 16)).astype(np.uint8), np.arange(5) % 2
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    made = data.from_file(tmp_path / "data.npz")

    def run(captures: bool) -> Any:
        training = lenet5.Training(made, batch_size=2, device="gpu", dtype=dtype)
        if not captures:
            training.learn = training._learn
        for _ in range(2):
            training.begin_epoch()
            while training.step_in_epoch < training.steps:
                training.step()
            training.end_epoch()
        return training, bits(training.params), training.history, training.optimizer.steps

    training, *ours = run(True)
    assert ours == list(run(False)[1:])
    assert [g.calls for g in training.learn.graphs] == [4, 2] and all(g.captured for g in training.learn.graphs)
