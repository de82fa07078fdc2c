"""Trains on photographs beside PyTorch: python bench/photographs.py [--threads 1] [--output FILE]

Network, recipe, first parameters, batches and their order are those of convgpu/examples/photographs.py for both; each
seed draws new parameters and a new order. After every epoch the accuracy on the test patches is measured, outside of
the time. The row of a seed has both histories; the summary has means and standard deviations of the last accuracy, and
the time to the accuracy that the worse of the two means has, theirs/ours. The runs of the two alternate. On one thread
times are those of the CPU, which other programs hardly change, else they are wall times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name

import convgpu as cg
from convgpu.benchmark.results import record
from convgpu.examples import photographs
from convgpu.examples.photographs import Data

History = list[tuple[float, float]]


def _layout(name: str, array: np.ndarray) -> np.ndarray:
    """PyTorch's order of the axes of weights."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array


def train_torch(seed: int, data: Data, epochs: int, clock: Callable[[], float] = time.perf_counter) -> History:
    """The same training in PyTorch, in channels_last."""
    params, stats = photographs.initial(seed, int(data.y.max()) + 1)
    p = {f"{a}.{b}": torch.tensor(np.ascontiguousarray(_layout(b, t.numpy()))) for a, group in params.items()
         for b, t in group.items()}
    p = {name: (t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t).requires_grad_()
         for name, t in p.items()}
    s = {f"{a}.{b}": torch.tensor(t.numpy()) for a, group in stats.items() for b, t in group.items()}
    matrices, vectors = [t for t in p.values() if t.ndim > 1], [t for t in p.values() if t.ndim == 1]
    optimizer = torch.optim.SGD([{"params": matrices, "weight_decay": photographs.DECAY}, {"params": vectors}], lr=0.1,
                                momentum=photographs.MOMENTUM)
    rate = photographs.schedule(len(data.x) // photographs.BATCH * epochs)

    def block(name: str, x: torch.Tensor, training: bool) -> torch.Tensor:
        y = F.conv2d(x, p[f"{name}.w"], padding=1)
        return F.batch_norm(y, s[f"{name}.mean"], s[f"{name}.var"], p[f"{name}.scale"], p[f"{name}.offset"], training,
                            0.1, 1e-5)

    def logits(x: np.ndarray, training: bool) -> torch.Tensor:
        y = torch.from_numpy(x).permute(0, 3, 1, 2)
        y = F.max_pool2d(F.relu(block("first", y, training)), 2)
        y = F.max_pool2d(F.relu(block("second", y, training)), 2)
        y = F.relu(block("right", F.relu(block("left", y, training)), training) + y)
        y = F.relu(block("last", y, training)).mean((2, 3))
        return F.linear(y, p["dense.w"], p["dense.b"])

    history, seconds, at = [], 0.0, 0
    for parts in photographs.batches(data, seed, epochs):
        began = clock()
        for x, y in parts:
            for group in optimizer.param_groups:
                group["lr"] = float(rate(at))
            loss = F.cross_entropy(logits(x, True), torch.from_numpy(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            at += 1
        seconds += clock() - began
        with torch.no_grad():
            history.append((seconds, photographs.accuracy(lambda x: logits(x, False).numpy(), data)))
    return history


def seconds_to(history: History, accuracy: float) -> float | None:
    """The seconds of training after which the accuracy was first reached; None if it never was."""
    return next((seconds for seconds, right in history if right >= accuracy), None)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and deviations over the seeds."""
    last = {name: np.array([row[name][-1][1] for row in rows]) for name in ("convgpu", "torch")}
    target = float(min(a.mean() for a in last.values()))
    found: dict[str, Any] = {"target": target}
    for name, a in last.items():
        times = [t for t in (seconds_to(row[name], target) for row in rows) if t is not None]
        found[name] = {"accuracy": float(a.mean()), "deviation": float(a.std(ddof=1)) if len(a) > 1 else None,
                       "seconds": float(np.mean([row[name][-1][0] for row in rows])), "reached": len(times),
                       "seconds_to_target": float(np.mean(times)) if times else None}
    found["seconds_theirs_over_ours"] = found["torch"]["seconds"] / found["convgpu"]["seconds"]
    if found["torch"]["seconds_to_target"] and found["convgpu"]["seconds_to_target"]:
        found["to_target_theirs_over_ours"] = (found["torch"]["seconds_to_target"]
                                               / found["convgpu"]["seconds_to_target"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=photographs.EPOCHS)
    parser.add_argument("--output", default="bench/results/photographs/cpu.json")
    options = parser.parse_args()
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    cg.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    data, rows = photographs.load(), []
    for seed in range(options.seeds):
        contenders = [("convgpu", photographs.train), ("torch", train_torch)]
        row: dict[str, Any] = {"seed": seed}
        for name, train in contenders if seed % 2 == 0 else contenders[::-1]:
            row[name] = train(seed, data, options.epochs, clock=clock)
            print(f"seed {seed}, {name}: {row[name][-1][1]:.2%} after {row[name][-1][0]:.1f} s", flush=True)
        rows.append(row)
        # written after every seed, so that a run that is stopped leaves what it has measured
        settings = {"clock": "CPU" if options.threads == 1 else "wall", "threads": options.threads,
                    "epochs": options.epochs, "batch": photographs.BATCH,
                    "train": len(data.x), "test": len(data.test_x), "classes": int(data.y.max()) + 1}
        record(options.output, [*rows, {"summary": summary(rows), **settings}], ("numpy", "torch", "scikit-image",
                                                                                  "scikit-learn"))
    print(summary(rows))


if __name__ == "__main__":
    main()
