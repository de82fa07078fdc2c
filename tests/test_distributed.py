"""Training on several processes: equal bits, the right means, failures that end the job and name the process."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import convgpu as cg

ROOT = Path(__file__).parent.parent
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None or MPIEXEC is None,
                                reason='several processes need MPI: pip install "convgpu[distributed]"')
BEGIN = """
import os, sys, time
import numpy as np
import convgpu as cg
from convgpu import distributed as d
d.init(timeout=60)
rank, size = d.rank(), d.size()
def everyone(ok):  # every process must find it so
    assert all(d.gather(bool(ok))), f"rank {rank}: {ok}"
"""


def run(processes: int, code: str, *, begin: str = BEGIN, fails: bool = False,
        cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program on several processes. What they print is not in any order."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CONVGPU_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [MPIEXEC, "-n", str(processes), sys.executable, "-c", begin + textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, cwd=cwd)
    assert (done.returncode != 0) == fails, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def test_one_process_needs_no_launcher() -> None:
    x = {"w": cg.tensor([1.0, 2.0])}
    assert cg.distributed.size() == 1 and cg.distributed.shard() == (0, 1)
    assert cg.distributed.allreduce(x)["w"].tolist() == cg.distributed.broadcast(x)["w"].tolist() == [1.0, 2.0]
    assert cg.distributed.gather("a") == ["a"]
    cg.distributed.check_equal(x)
    cg.distributed.barrier()


@pytest.mark.parametrize("wrong, error, rule", [
    (lambda d: d.allreduce(cg.tensor([1, 2])), TypeError, "floating leaves for a mean, got int"),
    (lambda d: d.allreduce(cg.tensor([1.0]), weight=-1), ValueError, "weight from 0 on"),
    (lambda d: d.allreduce(cg.tensor([1.0]), weight="a"), TypeError, "weight to be a number"),
    (lambda d: d.allreduce(cg.tensor([1.0]), weight=0), ValueError, "above 0 somewhere"),
    (lambda d: d.broadcast(cg.tensor([1.0]), root=1), ValueError, "root to be a rank below 1"),
    (lambda d: d.init(timeout=0), ValueError, "above 0 seconds"),
    (lambda d: d.init(timeout="long"), TypeError, "number of seconds"),
    (lambda d: cg.data.batches([1.0], batch_size=1, shard=(1, 1)), ValueError, "0 <= rank < size"),
])
def test_wrong_arguments(wrong: object, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        wrong(cg.distributed)


@pytest.mark.parametrize("processes", [2, 4])
def test_collectives(processes: int) -> None:
    run(processes, """
        all_parts = [np.random.default_rng(k).standard_normal((3, 5)).astype("float32") for k in range(size)]
        mine = cg.tensor(all_parts[rank])
        in_turn = all_parts[0].copy()
        for part in all_parts[1:]:
            in_turn += part
        tree = {"w": mine, "b": [mine.astype("float64"), mine.astype("float16"), cg.zeros((0, 2))]}
        ordered = d.allreduce(tree, deterministic=True)
        everyone(ordered["w"].numpy().tobytes() == (in_turn / np.float32(size)).tobytes())
        everyone([x.dtype for x in cg.tree.leaves(ordered)] == [x.dtype for x in cg.tree.leaves(tree)])
        half = sum(p.astype("float16").astype("float32") for p in all_parts) / size
        np.testing.assert_allclose(ordered["b"][1].numpy(), half, rtol=2**-11)
        free = d.allreduce(tree)
        d.check_equal(free)
        np.testing.assert_allclose(free["w"].numpy(), ordered["w"].numpy(), rtol=1e-5, atol=1e-6)
        everyone(d.allreduce(cg.tensor([rank, 1]), mean=False).tolist() == [sum(range(size)), size])
        weighted = d.allreduce(mine, weight=rank)  # rank 0 counts for nothing
        expected = sum(k * p.astype("float64") for k, p in enumerate(all_parts)) / sum(range(size))
        np.testing.assert_allclose(weighted.numpy(), expected, rtol=1e-5, atol=1e-6)
        nothing = cg.tensor(np.full(2, np.nan)) if rank == 0 else cg.tensor(np.ones(2))
        everyone(d.allreduce(nothing, weight=float(rank > 0)).tolist() == [1.0, 1.0])
        for root in range(size):
            everyone(d.broadcast(mine, root).numpy().tobytes() == all_parts[root].tobytes())
        gathered = d.gather({"x": mine, "rank": rank, "name": "a" * rank})
        everyone([g["rank"] for g in gathered] == list(range(size)) and gathered[-1]["name"] == "a" * (size - 1))
        everyone(all(g["x"].numpy().tobytes() == p.tobytes() for g, p in zip(gathered, all_parts)))
        large = cg.tensor(np.arange(8_000_000, dtype="float32"))  # more than a bucket
        everyone((d.allreduce([large, mine])[0].numpy() == large.numpy()).all())
        everyone((d.allreduce([large, mine], deterministic=True)[0].numpy() == large.numpy()).all())
    """)


def test_differences_are_found_on_every_process() -> None:
    run(3, """
        def found(f, *words):
            try:
                f()
            except ValueError as error:
                everyone(all(word in str(error) for word in words) or str(error))
            else:
                everyone("no error")
        x = cg.tensor([1.0, 2.0])
        found(lambda: d.allreduce({"w": x} if rank == 2 else x), "rank 2", "{'w': float32[2]}")
        found(lambda: d.allreduce(x.astype("float64") if rank == 1 else x), "rank 1", "float64")
        found(lambda: d.broadcast(cg.zeros(3) if rank == 1 else x), "rank 1", "float32[3]")
        found(lambda: d.allreduce(x, mean=rank == 0), "mean=False")
        found(lambda: d.barrier() or d.check_equal({"a": {"b": x + (rank == 2)}}), "a.b", "rank 2")
        found(lambda: d.allreduce(x, weight=0), "above 0 somewhere")
    """)


TRAINING = """
    generator = np.random.default_rng(0)
    X = generator.standard_normal((26, 12, 12, 1), np.float32)
    Y = generator.integers(0, 5, 26)
    def initial():
        g = cg.Generator(1)
        return {"conv": cg.randn((3, 3, 1, 4), generator=g) * 0.3, "dense": cg.randn((100, 5), generator=g) * 0.1,
                "b": cg.zeros(5), "scale": cg.ones(4), "offset": cg.zeros(4)}
    def loss(p, x, y, norm=cg.batch_norm):
        h = cg.conv2d(x, p["conv"])
        h, *_ = norm(h, cg.zeros(4, dtype=h.dtype), cg.ones(4, dtype=h.dtype), p["scale"], p["offset"], training=True)
        h = cg.avg_pool2d(cg.relu(h), 2).reshape(x.shape[0], 100)
        return cg.cross_entropy(h @ p["dense"] + p["b"], y)
    def bits(tree):
        return b"".join(x.numpy().tobytes() for x in cg.tree.leaves(tree))
"""


def train(code: str) -> str:
    return textwrap.dedent(TRAINING) + textwrap.dedent(code)


@pytest.mark.parametrize("processes", [2, 4])
def test_training_has_the_bits_of_one_process_that_takes_the_same_parts(processes: int) -> None:
    run(processes, train("""
        def parts(x, n):
            return [x[len(x) * k // n:len(x) * (k + 1) // n] for k in range(n)]
        each = cg.value_and_grad(loss)
        alone, optimizer = initial(), cg.optim.SGD(lr=0.1, momentum=0.9)
        for _ in range(5):
            pairs = zip(parts(X[:24], size), parts(Y[:24], size))
            grads = [each(alone, cg.tensor(x), cg.tensor(y))[1] for x, y in pairs]
            total = grads[0]
            for g in grads[1:]:
                total = cg.tree.map(lambda a, b: a + b, total, g)
            alone = optimizer.step(alone, cg.tree.map(lambda g: g / size, total))
        params, optimizer = d.broadcast(initial()), cg.optim.SGD(lr=0.1, momentum=0.9)
        together = d.value_and_grad(loss, deterministic=True)
        for _ in range(5):
            for x, y in cg.data.batches(X[:24], Y[:24], batch_size=24, shard=d.shard()):
                value, grads = together(params, x, y)
                everyone(bits(grads) == bits(d.allreduce(each(params, x, y)[1], deterministic=True)))
                params = optimizer.step(params, grads)
        d.check_equal(params)
        everyone(bits(params) == bits(alone))
    """))


@pytest.mark.parametrize("processes", [2, 4])
def test_unequal_and_empty_parts_give_the_gradient_of_the_whole_batch(processes: int) -> None:
    run(processes, train("""
        wide = {name: p.astype("float64") for name, p in initial().items()}
        images = X.astype("float64")
        for examples in (26, 7, 3):  # 3: with four processes, some have none
            value, grads = cg.value_and_grad(loss)(wide, cg.tensor(images[:examples]), cg.tensor(Y[:examples]))
            for x, y in cg.data.batches(images[:examples], Y[:examples], batch_size=examples, shard=d.shard()):
                both = d.value_and_grad(lambda p, x, y: loss(p, x, y, d.batch_norm), weight=len(x))
                with np.errstate(all="ignore"):
                    mean, sums = both(wide, x, y)
            np.testing.assert_allclose(mean.numpy(), value.numpy(), rtol=1e-12)
            for name in wide:
                np.testing.assert_allclose(sums[name].numpy(), grads[name].numpy(), rtol=1e-9, atol=1e-12, err_msg=name)
    """))


def test_batch_norm_learns_the_statistics_of_all() -> None:
    run(3, """
        x = np.random.default_rng(0).standard_normal((8, 4, 5)).astype("float32") + 100
        for dtype, rtol in (("float32", 1e-5), ("float64", 1e-12)):
            whole = cg.tensor(x.astype(dtype))
            state = cg.tensor(np.arange(5, dtype=dtype)), cg.ones(5, dtype=dtype)
            part = whole[:6] if rank == 0 else whole[6:] if rank == 2 else whole[:0]
            y, mean, var = d.batch_norm(part, *state, training=True, momentum=0.7)
            expected = cg.batch_norm(whole, *state, training=True, momentum=0.7)
            np.testing.assert_allclose(np.concatenate([t.numpy() for t in d.gather(y)]), expected[0].numpy(), rtol,
                                       atol=20 * rtol)
            np.testing.assert_allclose(mean.numpy(), expected[1].numpy(), rtol)
            np.testing.assert_allclose(var.numpy(), expected[2].numpy(), rtol)
        y = d.batch_norm(whole, *state, training=False)[0]
        everyone(y.numpy().tobytes() == cg.batch_norm(whole, *state, training=False)[0].numpy().tobytes())
        nothing = d.batch_norm(whole[:0], *state, training=True)
        everyone(nothing[0].shape == (0, 4, 5) and nothing[1].tolist() == state[0].tolist())
    """)


def test_the_loader_gives_every_example_to_one_process() -> None:
    seen = []
    for size in (1, 3):
        parts = [[(place, x.tolist()) for place, x in enumerate(cg.data.batches(
            np.arange(10), batch_size=4, shuffle=True, epochs=2, shard=(rank, size)))] for rank in range(size)]
        assert len({len(part) for part in parts}) == 1  # equally many steps
        seen.append([sum((part[place][1] for part in parts), []) for place in range(6)])
    assert seen[0] == seen[1]


def test_draws_of_a_transform_differ_between_processes() -> None:
    draws = [next(cg.data.batches(np.zeros(8), batch_size=8, transform=lambda x, rng: x + rng.random(x.shape),
                                  shard=(rank, 2))).tolist() for rank in range(2)]
    assert draws[0] != draws[1]


WAITING = "d.barrier()\n"
ENDS = {
    "raises": ("if rank == 1: raise KeyError('mine')\n" + WAITING, ["rank 1 raised KeyError", "mine"]),
    "hangs": ("if rank == 1: time.sleep(600)\n" + WAITING, ["rank 1 did not come to barrier number"]),
    "two_hang": ("if rank: time.sleep(600)\nd.allreduce(cg.ones(3))\n", ["rank 1, 2 did not come to gather"]),
    "root_hangs": ("if rank == 0: time.sleep(600)\nd.broadcast(cg.ones(3))\n", ["rank 0 did not come to gather"]),
    "returns": ("if rank == 1: sys.exit(0)\n" + WAITING, ["rank 1 has ended"]),
    "exits": ("if rank == 1: sys.exit(3)\n" + WAITING, ["rank 1 has ended"]),
    "killed": ("if rank == 1: os.kill(os.getpid(), 9)\n" + WAITING, ["signal 9"]),
    "backward": ("""
def f(p):
    if rank == 1: raise ValueError("in the middle")
    return (p * p).sum()
d.value_and_grad(f)(cg.ones(3))
""", ["rank 1 raised ValueError"]),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_fails_ends_the_job(how: str, tmp_path: Path) -> None:
    code, words = ENDS[how]
    marker = f"# {tmp_path.name}-{how}"
    begin = BEGIN.replace("timeout=60", "timeout=3")
    begin += f"open({str(tmp_path)!r} + f'/{{rank}}', 'w').close()\n{marker}\n"
    done = run(3, "", begin=begin + code, fails=True)
    said = done.stdout + done.stderr
    assert all(word in said for word in words), said
    assert len(list(tmp_path.iterdir())) == 3
    for _ in range(50):
        left = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if _has(pid, marker)]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes {left} are left")


def _has(pid: str, marker: str) -> bool:
    try:
        return marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return False


@pytest.mark.parametrize("code, rule", [
    ("import convgpu as cg; cg.distributed.barrier()", "expected convgpu.distributed.init"),
    ("import convgpu as cg; cg.distributed.init(); cg.distributed.init()", "got a second"),
])
def test_init_is_called_once_and_first(code: str, rule: str) -> None:
    assert rule in run(2, code, begin="", fails=True).stderr


def test_torchrun_is_refused_by_name() -> None:
    environment = os.environ | {"WORLD_SIZE": "2", "RANK": "0", "PYTHONPATH": str(ROOT)}
    code = "import convgpu as cg; cg.distributed.init()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 1 and re.search("NotImplementedError.*torchrun.*mpiexec -n N", done.stderr)


def test_processes_share_the_cores() -> None:
    run(2, """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        everyone(cg.get_num_threads() == max(1, cores // 2))
    """)


def test_convgpu_train(tmp_path: Path) -> None:
    """Two processes learn what one learns, up to rounding; a checkpoint goes on with another number of processes."""
    def command(processes: int, *options: str) -> str:
        program = f"from convgpu.cli import main; raise SystemExit(main({['train', *options]!r}))"
        done = run(processes, program, begin="", cwd=tmp_path) if processes > 1 else subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=180, check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)})
        return done.stdout + done.stderr

    said = command(2, "--epochs", "1", "--out", "two")
    assert said.count("LeNet-5, 61,706 parameters") == said.count("Test accuracy") == 1 and "2 processes" in said
    command(1, "--epochs", "1", "--out", "one")
    one, two = (json.loads((tmp_path / out / "history.json").read_text())["epochs"] for out in ("one", "two"))
    assert abs(one[0]["loss"] - two[0]["loss"]) < 0.02 and abs(one[0]["test_accuracy"] - two[0]["test_accuracy"]) < 0.03
    command(2, "--resume", "--epochs", "2", "--out", "one")
    resumed = json.loads((tmp_path / "one" / "history.json").read_text())["epochs"]
    assert resumed[0] == one[0] and resumed[1]["loss"] < one[0]["loss"]
