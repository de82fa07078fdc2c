"""Times whole networks and PyTorch's, eager and by torch.compile: python bench/train.py [--device gpu]

It measures step time, images per second and peak memory of LeNet-5, AlexNet, VGG-16 and ResNet-50, in float32 and in
bfloat16 (parameters in float32: ours by convgpu.mixed, PyTorch's by autocast). Our networks and
PyTorch's begin with the same parameters; loss and gradients are compared before anything is timed. Each contender's
memory is measured in its own process. Results are added to bench/results.

    --rows-of TABLE  the rows of bench/gpu_tables.py instead ("train", "train compiled", "train cpu"), each kept as
                     it is done in the file that --rows names (bench/rows.py); memory is not measured
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpu_tables
import report
from kernels import LOST, fail, is_lost, open_rows
from rows import add_options

from convgpu import set_num_threads
from convgpu.benchmark import Results, quiet_blas, training
from convgpu.benchmark.devices import choose
from convgpu.benchmark.networks import NETWORKS, Step
from convgpu.benchmark.peers import Torch
from convgpu.cli.progress import Bar
from convgpu.device import cupy_with_gpu

VARIANTS = {"eager": "", "compiled": "compiled"}
DTYPES = ("float32", "bfloat16", "float16")


def variants_of(chosen: Sequence[str], dtype: str) -> list[str]:
    """PyTorch's variants that compute in a dtype: under autocast, in a half type."""
    amp = "amp" if dtype != "float32" else ""
    return [" ".join(filter(None, (VARIANTS[name], amp))) for name in chosen]


def peak_memory(name: str, network: str, batch: int, threads: int | None, dtype: str) -> int | None:
    """The most bytes that two steps of a contender take beyond what its process had before; None if the process failed.
    """
    command = [sys.executable, __file__, "--peak", name, "--network", network, "--batch", str(batch),
               "--dtype", dtype]
    command += ["--threads", str(threads)] if threads else []
    done = subprocess.run(command, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else None


def measure_peak(name: str, network_name: str, batch: int, dtype: str) -> int:
    """The work of peak_memory's child process."""
    network, (package, device, *variant) = NETWORKS[network_name], name.split()
    params, (x, y) = network.initial(), NETWORKS[network_name].data(batch)
    peer = Torch() if package == "torch" else None
    before = _peak_resident()
    if peer is None:
        step: Any = Step(network, params, x, y, device, dtype)
    else:
        kind = " ".join(part for part in variant if not part.startswith("channels"))
        step = training.torch_steps(peer, network, params, x, y, device, (kind,), {}, dtype)[name]
    for _ in range(2):
        step()
    if device == "cpu":
        return _peak_resident() - before
    return peer.torch.cuda.max_memory_allocated() if peer else cupy_with_gpu().get_default_memory_pool().total_bytes()


def _peak_resident() -> int:
    """The most memory that this process has held. ru_maxrss would not do, since it begins with the parent's value."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1])


# For --rows-of: the device, PyTorch's variants, the number of steps, and seconds of samples; below, the most for a row.
TABLES = {"train": ("gpu", ("", "amp"), 20, 6.0), "train compiled": ("gpu", ("compiled",), 20, 6.0),
          "train cpu": ("cpu", ("",), 3, 10.0)}
LONGEST = 120.0


def measure_rows(options: argparse.Namespace) -> None:
    """Measure the training steps of the static table, row by row."""
    device, variants, steps, budget = TABLES[options.rows_of]
    try:
        peer: Torch | None = Torch()
    except ImportError as error:
        print(f"without PyTorch: {error}", flush=True)
        peer = None
    devices, _ = choose([device])
    rows = open_rows(options, ("numpy", *["torch"] * (peer is not None)))
    chosen = gpu_tables.ON_THE_CPU if device == "cpu" else gpu_tables.TRAINED
    for name, batch in chosen[:options.tiny or None]:
        key = gpu_tables.training_key(options.rows_of, name, batch)
        if key in rows:
            continue
        with rows.at(key, LONGEST):
            network, images = (NETWORKS["lenet5"], 2) if options.tiny else (NETWORKS[name], batch)
            try:
                results = training.measure(network, [images], devices, peer, 2 if options.tiny else steps, budget,
                                           variants, Bar())
            except Exception as error:  # of this network: the others go on
                fail(rows, key, error)
                if device == "gpu" and is_lost():
                    sys.exit(LOST)
                continue
        if results.interrupted:
            raise KeyboardInterrupt
        rows.add(key, {**results.rows[0], **({"tiny": True} if options.tiny else {})})
        print(key, {who: f"{1e3 * timing.median('wall'):.2f} ms" for who, timing in results.rows[0]["timings"].items()},
              results.rows[0].get("absent", ""), flush=True)


def main() -> None:
    """Measure, record, and render the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--network", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, nargs="+", help="those of each network's own, or others for all")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES[:2]), help="a row for each")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS), help="of PyTorch")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of samples per row")
    parser.add_argument("--rows-of", choices=tuple(TABLES), help="rows of a static table, one by one")
    add_options(parser)
    parser.add_argument("--peak", metavar="CONTENDER", help="print the peak memory of one contender, no more")
    options = parser.parse_args()
    quiet_blas()
    if options.threads:
        set_num_threads(options.threads)
    if options.peak:
        print(measure_peak(options.peak, options.network[0], options.batch[0], options.dtype[0]))
        return
    if options.rows_of:
        measure_rows(options)
        return
    devices, _ = choose([options.device])
    found: Results | None = None
    for name, dtype in itertools.product(options.network, options.dtype):
        network = NETWORKS[name]
        own = [batch for batch in network.batches if batch in (options.batch or network.batches)]
        results = training.measure(network, own or options.batch, devices, Torch(), options.steps, options.budget,
                                   variants_of(options.variants, dtype), Bar(), dtype)
        for row in results.rows:
            peaks = {contender: peak_memory(contender, name, row["batch"], options.threads, dtype)
                     for contender in row["timings"]}
            row["memory"] = {contender: peak for contender, peak in peaks.items() if peak is not None}
        if found is not None:
            results.rows = found.rows + results.rows
        found = results
        if results.interrupted:
            break
    if found is not None and found.rows:
        report.save(found, f"train_{options.device}", options.device == "gpu")


if __name__ == "__main__":
    main()
