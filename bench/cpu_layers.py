"""Times the CPU backend and PyTorch, layer by layer, on one thread and two: python bench/cpu_layers.py [--quick]

It times every layer of convgpu.cases.networks in each direction, and PyTorch with oneDNN in the better of its two
layouts. Results are added to bench/results; those of another backend than the default (--backend) are only shown. With
more than one thread only the wall clock counts, so nothing else may run: idle PyTorch threads, which spin, suffer most
from other programs.
"""

from __future__ import annotations

import argparse

import report

from convgpu import current_backend, set_num_threads, use_backend
from convgpu.backends import COMPILED_BACKENDS, CPU_BACKENDS
from convgpu.benchmark import quiet_blas
from convgpu.benchmark.devices import CpuDevice
from convgpu.benchmark.layers import measure
from convgpu.benchmark.peers import Torch
from convgpu.benchmark.problems import layer_problems
from convgpu.benchmark.report import figures
from convgpu.cases import networks
from convgpu.cases.problem import Problem
from convgpu.cli.progress import Bar

DEFAULT = current_backend()


def problems(only: str) -> list[Problem]:
    """All layers whose name contains this text; directions take turns."""
    layers = [*networks.DENSE, *networks.DEPTHWISE, *networks.MAX_POOLS]
    found = layer_problems(layers, ("fprop", "wgrad", "dgrad"))
    return [p for p in found if only in f"{p.facts.family} {p.network} {p.layer} {p.facts.direction}"]


def told(row: figures.Row) -> None:
    """Print one row on the terminal."""
    times = "  ".join(f"{name} {1e3 * figures.seconds(row, name):.3f} ms" for name in row["timings"])
    print(f"{row['threads']} {row['network']:10} {row['layer']:28} {row['direction']:6} "
          f"{figures.ratio(row, 'cpu') or float('nan'):5.2f}  {times}", flush=True)


def main() -> None:
    """Measure, record, and render the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three samples instead of nine")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="rows with this text; nothing is recorded")
    parser.add_argument("--backend", choices=(*COMPILED_BACKENDS, *CPU_BACKENDS), default=DEFAULT,
                        help="what computes on the CPU; only the default's results are recorded")
    options = parser.parse_args()
    quiet_blas()
    use_backend(options.backend)
    for threads in options.threads:
        set_num_threads(threads)
        results = measure(problems(options.only), [CpuDevice()], Torch(), 3 if options.quick else 9, watch=told,
                          progress=Bar())
        if not options.only and options.backend == DEFAULT and not results.interrupted:
            report.save(results, f"cpu_layers_{threads}")


if __name__ == "__main__":
    main()
