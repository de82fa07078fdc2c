"""profile: rows like a ledger's, times that add up, traces that viewers open. deterministic: bits of two runs."""

import json
import threading
import time

import numpy as np
import pytest
from gpu_device import gpu, quiet, stand_in  # noqa: F401 - fixtures

import convgpu as cg
from convgpu import Op, autograd

X, W = np.ones((4, 8, 8, 3), np.float32), np.full((3, 3, 3, 5), 0.1, np.float32)


def loss(p, x):
    return cg.cross_entropy(cg.linear(cg.global_avg_pool(cg.conv(x, p["w"], activation="relu")), p["v"]), [0, 1, 2, 0])


def params():
    return {"w": cg.tensor(W), "v": cg.tensor(np.full((5, 3), 0.2, np.float32))}


def profiled():
    sgd, p = cg.optim.SGD(lr=0.1, momentum=0.9), params()
    with cg.profile() as found:
        _, g = cg.value_and_grad(loss)(p, cg.tensor(X))
        p = sgd.step(p, g)
    return found


def check_trace(trace):
    """The rules of Chrome's trace event format for the events that are used: required fields, and spans that nest."""
    trace = json.loads(json.dumps(trace, allow_nan=False))
    assert set(trace) == {"traceEvents", "displayTimeUnit"} and trace["displayTimeUnit"] in ("ms", "ns")
    tracks = {}
    for event in trace["traceEvents"]:
        assert event["ph"] in "MXC" and isinstance(event["name"], str) and isinstance(event["args"], dict)
        assert all(type(event[key]) is int for key in ("pid", "tid"))
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
        else:
            assert event["ts"] >= 0
        if event["ph"] == "C":
            assert all(isinstance(v, (int, float)) for v in event["args"].values())
        if event["ph"] == "X":
            assert event["dur"] >= 0 and isinstance(event["cat"], str)
            tracks.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in tracks.values():
        ends = []
        for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while ends and ends[-1] <= begin + 1e-6:
                ends.pop()
            assert not ends or end <= ends[-1] + 1e-3, "spans of one track overlap without nesting"
            ends.append(end)
    return trace


def test_rows_are_those_of_a_ledger():
    rows = {(row.op, row.phase): row for row in profiled().rows}
    spec = cg.spec
    x, p = spec(X.shape), {"w": spec(W.shape), "v": spec((5, 3))}
    ledger = cg.ledger(cg.value_and_grad(lambda p, x, t: cg.cross_entropy(cg.linear(cg.global_avg_pool(
        cg.conv(x, p["w"], activation="relu")), p["v"]), t)), p, x, spec(4, "int64"), device="H200")
    theirs = {(row.op, row.phase): row for row in ledger.rows}
    for key in (("conv_fprop", "forward"), ("conv_wgrad", "backward of conv_fprop"), ("avg_pool", "forward")):
        assert rows[key].flops == theirs[key].flops and rows[key].launches == 1 and type(rows[key]) is type(theirs[key])
        assert rows[key].written_bytes == theirs[key].written_bytes, key
    assert any(row.phase == "optimizer" for row in rows.values())
    assert not {"conv_dgrad"} & {row.op for row in rows.values()}


def test_times_add_up_and_nested_ops_count_once():
    inner = Op("slow_inner", "x -> y", lambda x: (time.sleep(0.02), x + 1)[1])
    outer = Op("slow_outer", "x -> y", lambda x: (time.sleep(0.01), inner(cg.tensor(x)).numpy())[1])
    with cg.profile() as found:
        outer(cg.ones(3))
    rows = {row.op: row for row in found.rows}
    assert 0.02 <= rows["slow_inner"].seconds and 0.01 <= rows["slow_outer"].seconds
    events = {event.row[0]: event for event in found.events}
    assert events["slow_outer"].end - events["slow_outer"].begin >= 0.03
    assert events["slow_outer"].own < events["slow_outer"].end - events["slow_outer"].begin - 0.019
    assert found.totals["seconds"] <= found.seconds
    for op in (inner, outer):
        del Op.registry[op.name]


def test_memory_of_results_is_that_of_arrays_that_live():
    with cg.profile() as found:
        x = cg.numpy.exp(np.zeros(1000, np.float32))
        y = x.reshape(10, 100) * 2  # the reshape is a view
        assert found.memory[-1][1] == 8000
        del x, y
        assert found.memory[-1][1] == 0
    assert found.peak_bytes == 8000 and cg.exp(cg.ones(3)) is not None and found.memory[-1][1] == 0


def test_a_trace_follows_the_format(tmp_path):
    found = profiled()
    trace = check_trace(found.trace())
    found.save(tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text(encoding="utf-8")) == trace
    names = [event["name"] for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(names) == len(found.events) == sum(row.launches for row in found.rows)
    conv = next(e for e in trace["traceEvents"] if e["name"] == "conv_fprop")
    assert conv["args"]["inputs"][0] == "float32[4, 8, 8, 3]" and conv["args"]["phase"] == "forward"
    assert json.dumps(found.json()) and "conv_wgrad" in str(found)
    broken = json.loads(json.dumps(trace))
    next(e for e in broken["traceEvents"] if e["ph"] == "X")["dur"] = -1
    with pytest.raises(AssertionError):
        check_trace(broken)


def test_threads_have_tracks_of_their_own():
    with cg.profile() as found:
        workers = [threading.Thread(target=lambda: [cg.exp(cg.ones(50)) for _ in range(20)]) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    check_trace(found.trace())
    assert sum(row.launches for row in found.rows if row.op == "exp") == 60
    assert len({event.thread for event in found.events}) >= 1


def test_profiles_nest_and_end_after_errors():
    with cg.profile() as outside, pytest.raises(ValueError, match="conv: expected"):
        with cg.profile() as inside:
            cg.exp(cg.ones(3))
            cg.conv(X, W[:, :, :2])
    assert [row.op for row in inside.rows] == [row.op for row in outside.rows] == ["exp"]
    assert not autograd.is_watched() and autograd.phase() == "forward"


def test_ops_on_the_gpu_are_timed_by_events(gpu, quiet):  # noqa: F811
    x, w = cg.tensor(X, device="gpu"), cg.tensor(W, device="gpu")
    with cg.profile() as found:
        cg.value_and_grad(lambda w: cg.exp(cg.conv(x, w)).sum())(w)
    kernels = {row.op: row.kernel for row in found.rows}
    assert kernels["conv_fprop"] == "cuda" and kernels["exp"] == "cupy"
    trace = check_trace(found.trace())
    tracks = {e["tid"] for e in trace["traceEvents"] if e["name"] == "conv_fprop"}
    assert len(tracks) == 2 and all(row.seconds > 0 for row in found.rows if row.op.startswith("conv"))


# --- deterministic


def test_a_step_is_run_twice_from_one_state():
    adam, p, generator, average = cg.optim.Adam(lr=0.1), params(), cg.Generator(3), cg.optim.EMA(0.9)
    alone = cg.optim.Adam(lr=0.1)
    counter, numbers = cg.zeros(1), np.random.default_rng(0)

    def step(optimizer, generator, average, counter, numbers):
        def dropped(p, x):
            return loss(p, cg.dropout(x, 0.5, generator=generator)) + cg.dropout(cg.ones(9), 0.5,
                                                                                generator=numbers).mean()

        value, g = cg.value_and_grad(dropped)(p, cg.tensor(X))
        counter.assign(counter + 1)
        new = optimizer.step(p, g)
        average.update(new)
        return value, new

    got = cg.deterministic(lambda counter, numbers: step(adam, generator, average, counter, numbers), counter, numbers)
    once = step(alone, cg.Generator(3), cg.optim.EMA(0.9), cg.zeros(1), np.random.default_rng(0))
    assert got[0].item() == once[0].item() and got[1]["w"].tolist() == once[1]["w"].tolist()
    assert adam.steps == 1 and counter.tolist() == [1.0]
    other = cg.Generator(3)
    cg.dropout(cg.tensor(X), 0.5, generator=other)
    assert generator.state.tolist() == other.state.tolist()


def test_what_differs_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(RuntimeError, match="the same bits twice, got others from op number 1: add -> float64"):
        cg.deterministic(lambda x: cg.exp(x) + rng.standard_normal(3), cg.ones(3))
    runs = []

    def changing(x):
        runs.append(1)
        return cg.exp(x) if len(runs) == 1 else cg.log(x)

    with pytest.raises(RuntimeError, match="got op number 0: exp .* then log"):
        cg.deterministic(changing, cg.ones(3))
    runs.clear()
    with pytest.raises(RuntimeError, match="expected the same ops twice, got 0 ops, then 1"):
        cg.deterministic(lambda x: runs.append(1) if not runs else cg.exp(x), cg.ones(3))
    assert not autograd.is_watched()
