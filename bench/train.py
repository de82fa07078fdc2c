"""Whole networks beside PyTorch: eager, torch.compile, and bfloat16 by autocast: python bench/train.py [--device gpu]

Step time, images per second and peak memory of LeNet-5, AlexNet, VGG-16 and ResNet-50. Ours and PyTorch's begin with
the same parameters; loss and gradients are compared before anything is timed. Each contender's memory is measured in a
process of its own. Adds to bench/results.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import report

from convgpu import set_num_threads
from convgpu.benchmark import Results, quiet_blas, train
from convgpu.benchmark.devices import choose
from convgpu.benchmark.networks import NETWORKS, Step
from convgpu.benchmark.peers import Torch
from convgpu.device import cupy_with_gpu

VARIANTS = {"eager": "", "compiled": "compiled", "amp": "amp"}


def peak_memory(name: str, network: str, batch: int, threads: int | None) -> int | None:
    """Bytes that two steps of a contender take at most, beyond what its process had before; None if it failed."""
    command = [sys.executable, __file__, "--peak", name, "--network", network, "--batch", str(batch)]
    command += ["--threads", str(threads)] if threads else []
    done = subprocess.run(command, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else None


def measure_peak(name: str, network_name: str, batch: int) -> int:
    """What the child process of peak_memory does."""
    network, (package, device, *variant) = NETWORKS[network_name], name.split()
    params, (x, y) = network.initial(), NETWORKS[network_name].data(batch)
    peer = Torch() if package == "torch" else None
    before = _peak_resident()
    if peer is None:
        step: Any = Step(network, params, x, y, device)
    else:
        kinds = tuple(part for part in variant if not part.startswith("channels")) or ("",)
        step = train.torch_steps(peer, network, params, x, y, device, kinds, {})[name]
    for _ in range(2):
        step()
    if device == "cpu":
        return _peak_resident() - before
    return peer.torch.cuda.max_memory_allocated() if peer else cupy_with_gpu().get_default_memory_pool().total_bytes()


def _peak_resident() -> int:
    """The most memory that this process has held. Not ru_maxrss, which begins with that of the process it came from."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1])


def main() -> None:
    """Measure, record, and render the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--network", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, nargs="+", help="those of each network's own, or others for all")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS), help="of PyTorch")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of samples per row")
    parser.add_argument("--peak", metavar="CONTENDER", help="print the peak memory of one contender, no more")
    options = parser.parse_args()
    quiet_blas()
    if options.threads:
        set_num_threads(options.threads)
    if options.peak:
        print(measure_peak(options.peak, options.network[0], options.batch[0]))
        return
    devices, _ = choose([options.device])
    found: Results | None = None
    for name in options.network:
        network = NETWORKS[name]
        own = [batch for batch in network.batches if batch in (options.batch or network.batches)]
        results = train.measure(network, own or options.batch, devices, Torch(), options.steps,
                                options.budget, [VARIANTS[variant] for variant in options.variants])
        for row in results.rows:
            peaks = {contender: peak_memory(contender, name, row["batch"], options.threads)
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
