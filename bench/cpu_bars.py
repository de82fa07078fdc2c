"""Times the CPU path beside PyTorch, and holds it to its bars: python bench/cpu_bars.py [--threads N]

Within --budget seconds (600), of which each part has a share, it times layers of networks in three directions
(float32; samples of channels_first, of bfloat16, and of AVX2 alone, to which both sides are limited in a process of
their own), what lies between them, optimizers, steps of six networks, steps through Keras, and the overhead of a
small call. Layers are taken in an order that visits every part from the start, so that a small budget leaves gaps
evenly. Results are added to bench/results with the table of bars (bench/bars.py). Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bars
import keras_training
import numpy as np
import report

import convgpu as cg
from convgpu.backends import load
from convgpu.benchmark import Results, alternate, environment, functions, layers, quiet_blas, training
from convgpu.benchmark.devices import CpuDevice
from convgpu.benchmark.networks import NETWORKS, Step
from convgpu.benchmark.peers import Torch
from convgpu.benchmark.problems import layer_problems, pool_problem
from convgpu.benchmark.report import figures
from convgpu.benchmark.results import load_average
from convgpu.benchmark.verification import WrongResultError
from convgpu.cases import networks
from convgpu.cases.problem import Problem

Row = dict[str, Any]
DIRECTIONS = ("fprop", "dgrad", "wgrad")
SHARES = {"layers": 0.36, "channels_first": 0.06, "bfloat16": 0.06, "avx2": 0.08, "functions": 0.08, "optimizers": 0.02,
          "networks": 0.18, "keras": 0.15, "overhead": 0.01}
AVX2 = {"CONVGPU_CPU_ISA": "v3", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
BATCHES = {"lenet5": 128, "alexnet": 8, "resnet50": 8, "mobilenet": 8, "efficientnet_b0": 4, "vgg16": 2}
STEPS_OF = {"lenet5": "steps of LeNet-5", "mobilenet": "steps of MobileNet, EfficientNet-B0",
            "efficientnet_b0": "steps of MobileNet, EfficientNet-B0"}
CHECKED = 2  # images on which a network's loss and gradients are compared


class Run:
    """What is measured with: options, PyTorch, and whether sizes are tiny, to try the script."""

    def __init__(self, threads: int, tiny: bool):
        cg.set_num_threads(threads)
        self.threads, self.tiny, self.samples = threads, tiny, 3 if tiny else 5
        self.peer, self.device = Torch(), CpuDevice()
        self.roofs: dict[str, Any] = {}

    def of_layers(self, budget: float, how: str = "", dtype: str = "float32",
                  data_format: str = "channels_last") -> Iterator[Row]:
        """Rows of single layers."""
        found = spread(self._problems(dtype, data_format))
        results = layers.measure(found[:3] if self.tiny else found, [self.device], self.peer, self.samples, watch=told,
                                 budget=budget)
        self.roofs = self.roofs or results.roofs
        for row in results.rows:
            yield {**row, "part": part_of(row) + how}

    def _problems(self, dtype: str, data_format: str) -> list[Problem]:
        chosen = [*networks.DENSE, *networks.DEPTHWISE, *networks.MAX_POOLS]
        if self.tiny:
            chosen = [replace(layer, batch=1, size=min(layer.size, 16)) for layer in chosen[3::17]]
        found = layer_problems(chosen, DIRECTIONS, dtype, data_format=data_format)
        pools = [layer for layer in chosen if isinstance(layer, networks.PoolLayer)]
        return found + [pool_problem(pool.geometry(data_format), d, dtype, True, pool.network, f"average {pool.name}")
                        for pool in pools for d in DIRECTIONS[:2]]

    def of_functions(self, budget: float) -> Iterator[Row]:
        """Rows of what lies between convolutions."""
        chosen = functions.FUNCTIONS
        if self.tiny:
            chosen = [replace(f, shape=tuple(min(n, 12) for n in f.shape)) for f in chosen[::3]]
        for row in until(budget, functions.rows(self.peer, chosen, samples=self.samples)):
            told(row)
            several = row["op"] in ("gelu", "softmax", "cross-entropy", "ReLU")
            part = "gelu, softmax, cross-entropy, ReLU" if several else f"{row['op']}, {row['direction']}"
            yield {**row, "part": part}

    def of_optimizers(self, budget: float) -> Iterator[Row]:
        """Rows of a step of each optimizer on MobileNet's parameters."""
        shapes = [(5, 3)] if self.tiny else [p.shape for p in cg.tree.leaves(NETWORKS["mobilenet"].initial())]
        for row in until(budget, functions.step_rows(self.peer, shapes, samples=self.samples)):
            told(row)
            yield {**row, "part": f"a step of {row['op']}"}

    def of_networks(self, budget: float) -> Iterator[Row]:
        """Rows of training steps, of each network that agrees with PyTorch's on two images."""
        names = list(BATCHES)[:1] if self.tiny else list(BATCHES)
        end = time.perf_counter() + budget
        for i, name in enumerate(names):
            left = end - time.perf_counter()
            if left < 0:
                return
            row = self._network(name, 2 if self.tiny else BATCHES[name], left / (len(names) - i))
            told(row)
            yield {**row, "part": STEPS_OF.get(name, "steps of ResNet-50, VGG-16, AlexNet")}

    def _network(self, name: str, batch: int, budget: float) -> Row:
        network, absent = NETWORKS[name], {}
        params = network.initial()
        x, y = network.data(batch)
        few = x[:CHECKED], y[:CHECKED]
        loss, grads = Step(network, params, *few, "cpu").gradients()
        contenders: dict[str, Any] = {"convgpu cpu": Step(network, params, x, y, "cpu")}
        checked = training.torch_steps(self.peer, network, params, *few, "cpu", ("",), absent)
        for peer, step in checked.items():
            try:
                step.check(peer, loss, grads)
                contenders |= {peer: training.TorchStep(self.peer, network, params, x, y, "cpu", peer.split()[-1])}
            except WrongResultError as error:
                absent[peer] = f"WrongResultError: {error}"
        row = {"kind": "train", "network": network.title, "layer": f"b{batch}", "direction": "step", "op": "",
               "dtype": "float32", "batch": batch, "steps": 20, "threads": self.threads, "flops": 0, "unit": "float32",
               "bytes": 0, "timings": alternate(contenders, self.samples, 0.0, budget=budget)}
        return {**row, "absent": absent} if absent else row

    def of_keras(self, budget: float) -> Iterator[Row]:
        """Rows of training steps through Keras, in two processes that take turns."""
        names = keras_training.STEPS[:1] if self.tiny else keras_training.STEPS
        for row in keras_training.rows(dict.fromkeys(names, self.samples), self.threads, budget):
            yield {**row, "part": "steps through Keras beside Keras on PyTorch"}

    def of_overhead(self, budget: float) -> Iterator[Row]:
        """One row: a traced convolution so small that it is all overhead."""
        x, w = cg.tensor(np.ones((1, 8, 8, 1), np.float32)), cg.tensor(np.ones((3, 3, 1, 1), np.float32))
        w.requires_grad_()
        timing = alternate({"ours": lambda: cg.conv2d(x, w, padding="same")}, 25, 0.002, pause=0.002)["ours"]
        yield {"kind": "startup", "network": "", "layer": "overhead of a traced conv2d of 1x8x8x1", "direction": "",
               "dtype": "float32", "threads": self.threads, "limit": bars.OVERHEAD, "timings": {"convgpu cpu": timing}}

    def of_avx2(self, budget: float) -> Iterator[Row]:
        """Rows of single layers from a process in which both sides have AVX2 alone."""
        if "v3" not in load("cpu").module.instruction_sets():
            print("cpu_bars: this machine has no AVX2", file=sys.stderr)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "rows.json")
            command = [sys.executable, __file__, "--threads", str(self.threads), "--parts", "layers", "--budget",
                       str(budget), "--how", ", AVX2", "--into", str(file), *["--tiny"] * self.tiny]
            subprocess.run(command, env={**os.environ, **AVX2}, check=True)
            yield from Results.load(file).rows


def spread(problems: list[Problem]) -> list[Problem]:
    """The problems in an order whose beginning holds some of every part, and of each part some of every size."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(part_of(problem.row), []).append(problem)
    step = (math.sqrt(5) - 1) / 2
    keyed = [((rank + 0.5) / len(group), problem) for group in groups.values()
             for rank, problem in zip(np.argsort(np.argsort([i * step % 1 for i in range(len(group))])), group)]
    return [problem for _, problem in sorted(keyed, key=lambda pair: pair[0])]


def part_of(row: Row) -> str:
    """The part that a layer belongs to."""
    if row["kind"] == "pool":
        return f"{'average' if row['op'].startswith('avg') else 'max'} pooling, {row['direction']}"
    return f"{'depthwise' if 'depthwise' in row['layer'] else 'dense'} {row['direction']}"


def until(budget: float, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that are done before so many seconds have gone, and one more."""
    end = time.perf_counter() + budget
    for row in rows:
        yield row
        if time.perf_counter() > end:
            return


def told(row: Row) -> None:
    """Print one row on the terminal."""
    times = "  ".join(f"{name} {1e3 * figures.seconds(row, name):.3f} ms" for name in row["timings"])
    pair = figures.rivals(row, "cpu")
    ratio = figures.seconds(row, pair[0]) / figures.seconds(row, pair[1]) if pair else math.nan
    print(f"{row['network']:15} {row['layer']:36} {row['direction']:8} {ratio:5.2f}  {times}"
          + "".join(f"  {why}" for why in row.get("absent", {}).values()), flush=True)


def measure(run: Run, chosen: Iterable[str], budget: float, how: str) -> Results:
    """All rows of the chosen parts."""
    parts: dict[str, Callable[[float], Iterator[Row]]] = {
        "layers": lambda seconds: run.of_layers(seconds, how),
        "channels_first": lambda seconds: run.of_layers(seconds, ", channels_first", data_format="channels_first"),
        "bfloat16": lambda seconds: run.of_layers(seconds, ", bfloat16", dtype="bfloat16"),
        "avx2": run.of_avx2, "functions": run.of_functions, "optimizers": run.of_optimizers,
        "networks": run.of_networks, "keras": run.of_keras, "overhead": run.of_overhead}
    chosen, before, rows = list(chosen), load_average(), []
    whole = sum(SHARES[part] for part in chosen)
    for part in chosen:
        print(f"--- {part}", flush=True)
        rows += parts[part](budget * SHARES[part] / whole)
    return Results(environment(("numpy", "torch"), before), rows, run.roofs)


def main() -> None:
    """Measure, record, and render the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of all parts (600)")
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--tiny", action="store_true", help="try the script on small sizes; nothing is recorded")
    parser.add_argument("--into", help="write the rows to this file, and record nothing")
    parser.add_argument("--how", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)  # the bars hold for what users meet
    quiet_blas()
    results = measure(Run(options.threads, options.tiny), options.parts, options.budget, options.how)
    if options.into:
        results.save(options.into)
        return
    print("\n".join(bars.table(results)))
    print("\n".join(bars.shares(results)))
    if not options.tiny:
        report.save(results, f"cpu_bars_{options.threads}")


if __name__ == "__main__":
    main()
