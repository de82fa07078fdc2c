"""Times what a user waits for before and around the arithmetic: python bench/startup.py [--device gpu]

It times the import beyond NumPy's, the first call on a new shape, the Python of a traced conv2d and of an op without
gradient, a LeNet-5 step so small that launching is nearly all of it, what the compiled backends take around a kernel,
and the Python of a step of ResNet-50 whose launches do nothing. Results are added to bench/results; the exit status is
1 where a bar is missed. It measures the convgpu that Python finds: with PYTHONPATH=ELSEWHERE it is that of another
commit.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import report
from idle_gpu import idle_gpu

import convgpu as cg
from convgpu import info, tree
from convgpu.backends import GPU_BACKENDS, load
from convgpu.benchmark import Results, Timing, alternate, environment, quiet_blas
from convgpu.benchmark.devices import choose
from convgpu.benchmark.networks import NETWORKS, Step
from convgpu.benchmark.report import tables
from convgpu.benchmark.results import load_average
from convgpu.device import move
from convgpu.dtypes import as_dtype
from convgpu.geometry import conv_geometry, pool_geometry
from convgpu.ledger import networks
from convgpu.settings import current_backend, use_backend

IMPORT, TRACED, UNTRACED, NATIVE = 0.25, 60e-6, 10e-6, 15e-6  # bars, in seconds
STEP, KERAS_STEP = 15e-3, 40e-3  # of Python, for ResNet-50
SAMPLES = 25
Row = dict[str, Any]


def row(what: str, device: str, timing: Timing, limit: float | None = None) -> Row:
    """A row of the results."""
    found = {"kind": "startup", "network": "", "layer": what, "direction": "", "dtype": "float32",
             "threads": cg.get_num_threads(), "timings": {f"convgpu {device}": timing}}
    return found if limit is None else {**found, "limit": limit}


def differences(whole: Callable[[], object], part: Callable[[], object], settle: float = 0.0) -> Timing:
    """The time of the whole beyond the time of the part, sample by sample."""
    timings = alternate({"whole": whole, "part": part}, SAMPLES, 0.002, pause=0.002, settle=settle)
    calls = timings["whole"].calls
    wall, cpu = ([a - b for a, b in zip(getattr(timings["whole"], clock), getattr(timings["part"], clock))]
                 for clock in ("wall", "cpu"))
    return Timing(calls, wall, cpu)


def alone(call: Callable[[], object]) -> Timing:
    """Time a call that is compared with nothing."""
    return alternate({"call": call}, SAMPLES, 0.002, pause=0.002)["call"]


def imports() -> Timing:
    """Seconds of `import convgpu` beyond those of `import numpy`, each in its own process."""
    def seconds(statement: str) -> tuple[float, float]:
        code = (f"import time; a, b = time.perf_counter(), time.process_time(); {statement}; "
                "print(time.perf_counter() - a, time.process_time() - b)")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        wall, cpu = map(float, done.stdout.split())
        return wall, cpu

    timing = Timing(1)
    for _ in range(9):
        (wall, cpu), (wall_part, cpu_part) = seconds("import numpy, convgpu"), seconds("import numpy")
        timing.wall.append(wall - wall_part)
        timing.cpu.append(cpu - cpu_part)
    return timing


def overheads(device: str) -> Iterator[Row]:
    """Rows for the Python code around small calls."""
    x, w = (np.ones(shape, np.float32) for shape in ((1, 8, 8, 1), (3, 3, 1, 1)))
    geo = conv_geometry("conv2d", x.shape, w.shape, 1, "same", 1, 1, "channels_last")
    backend = load(current_backend() if device == "cpu" else GPU_BACKENDS[0])
    there, filters = move(x, device), move(w, device)
    image, traced = cg.tensor(x, device=device), cg.tensor(w, device=device, requires_grad=True)
    plain = cg.tensor(w, device=device)

    def arithmetic() -> object:
        return backend.conv_fprop(there, filters, None, geo, None)

    yield row("conv2d of 1x8x8x1, traced, beyond the arithmetic", device,
              differences(lambda: cg.conv2d(image, traced, padding="same"), arithmetic), TRACED)
    yield row("conv2d of 1x8x8x1, no gradient, beyond the arithmetic", device,
              differences(lambda: cg.conv2d(image, plain, padding="same"), arithmetic))
    small = cg.tensor(np.ones(4, np.float32), device=device)
    module, array = type(small.array).__module__.partition(".")[0], small.array
    exp = sys.modules[module].exp
    yield row("exp of 4 numbers, no gradient, beyond the array's own", device,
              differences(lambda: cg.exp(small), lambda: exp(array)), UNTRACED)


def traced_calls(name: str) -> Iterator[Row]:
    """Rows for whole traced calls on tiny arrays, on one CPU backend."""
    image, filters, square = (cg.tensor(np.ones(shape, np.float32), requires_grad=True)
                              for shape in ((1, 8, 8, 1), (3, 3, 1, 1), (8, 8)))
    calls = {"conv2d of 1x8x8x1": lambda: cg.conv2d(image, filters, padding="same"),
             "max_pool2d of 1x8x8x1": lambda: cg.max_pool2d(image, 2), "gemm of 8x8x8": lambda: cg.gemm(square, square)}
    with use_backend(name):
        for what, call in calls.items():
            yield row(f"{what}, traced, on {name}", "cpu", alone(call))


def native_calls() -> Iterator[Row]:
    """Rows for the emulated backend's time around a launcher that does nothing, with kept plans, and for making a plan.
    """
    native = load("emulated")
    module = native.module
    x, w, a = (np.ones(shape, np.float32) for shape in ((1, 8, 8, 1), (3, 3, 1, 1), (8, 8)))
    conv = conv_geometry("conv2d", x.shape, w.shape, 1, "same", 1, 1, "channels_last")
    pool = pool_geometry("max_pool2d", x.shape, 2, None, 0, 1, False, False, "channels_last")
    calls = {"conv_fprop": lambda: native.conv_fprop(x, w, None, conv, None),
             "channel_sum": lambda: native.channel_sum(x, True), "max_pool": lambda: native.max_pool(x, pool, True),
             "gemm": lambda: native.gemm(a, a, None, 1.0, 1.0, False, False, None),
             "matmul": lambda: native.matmul(a, a), "nchw_to_nhwc": lambda: native.nchw_to_nhwc(x)}
    native.module = SimpleNamespace(**vars(module) | dict.fromkeys(calls, lambda *arguments: None))
    try:
        for op, call in calls.items():
            yield row(f"{op} on emulated, without its launcher", "cpu", alone(call), NATIVE)
    finally:
        native.module = module
    plans = {"conv_fprop": lambda: module.plan_conv("conv_fprop", native.geometry(conv), "float32"),
             "max_pool": lambda: module.plan_pool("max_pool", native.geometry(pool), "float32"),
             "gemm": lambda: module.plan_gemm(1, 8, 8, 8, "float32")}
    for op, plan in plans.items():
        yield row(f"plan of {op}, by itself", "cpu", alone(plan))


def python_of_steps(keras: bool) -> Timing:
    """The time of a step of ResNet-50 on a GPU whose launches do nothing: batch 256, bfloat16, momentum."""
    with idle_gpu() as new:
        images, labels = (cg.Tensor(new(shape, as_dtype(dtype))) for shape, dtype in (
            ((256, 224, 224, 3), "float32"), ((256,), "int64")))
        if keras:
            from convgpu.ledger.keras_networks import keras_step  # imported late: it needs Keras

            train, given = keras_step("resnet50", "bfloat16"), (images, labels)
        else:
            params = tree.map(lambda p: cg.Tensor(new(p.shape, p.dtype)), networks.parameters("resnet50"))
            train, given = networks.training_step(networks.ALL["resnet50"], "bfloat16"), (params, images, labels)
        train(*given)  # makes plans, states and Keras's model
        return alternate({"step": lambda: train(*given)}, SAMPLES, pause=0.002)["step"]


def python_per_step() -> Iterator[Row]:
    """Rows for the Python of a training step, which a GPU has to wait for if its kernels take less."""
    for through, limit, keras in (("direct", STEP, False), ("through Keras", KERAS_STEP, True)):
        if keras and importlib.util.find_spec("keras") is None:
            print("startup: Keras is not installed, and a step through it is not measured", file=sys.stderr)
            continue
        what = f"Python per step of ResNet-50, {through}, batch 256, bfloat16, without launches"
        yield row(what, "cpu", python_of_steps(keras), limit)


def first_calls(device: str) -> Timing:
    """The whole time of a conv2d on a shape that is new to the process."""
    sizes = itertools.count(9)
    w = cg.tensor(np.ones((3, 3, 4, 8), np.float32), device=device)
    images = [cg.tensor(np.ones((1, n, n + 1, 4), np.float32), device=device)
              for n in itertools.islice(sizes, SAMPLES)]
    timing = Timing(1)
    for image in images:
        wall, cpu = time.perf_counter(), time.thread_time()
        cg.conv2d(image, w)
        timing.cpu.append(time.thread_time() - cpu)
        timing.wall.append(time.perf_counter() - wall)
    return timing


def small_steps(device: str, batch: int) -> Timing:
    """The time of a LeNet-5 training step."""
    network = NETWORKS["lenet5"]
    step = Step(network, network.initial(), *network.data(batch), device)
    return alternate({"step": step}, SAMPLES, pause=0.002)["step"]


def main() -> int:
    """Measure, record, and render the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    os.environ.setdefault("CONVGPU_NUM_THREADS", "1")  # overhead is one thread's work, so that its CPU time counts
    quiet_blas()
    device = options.device
    load = load_average()
    choose([device])
    rows = [row("import convgpu, beyond numpy", device, imports(), IMPORT),
            row("first conv2d on a new shape", device, first_calls(device)), *overheads(device)]
    rows += [row(f"LeNet-5 step, batch {batch}", device, small_steps(device, batch)) for batch in (1, 8)]
    if device == "cpu":
        rows += traced_calls("numpy")
        if info.has_cpu_kernels():
            rows += traced_calls("cpu")
        if importlib.util.find_spec("convgpu._emulated"):
            rows += [*traced_calls("emulated"), *native_calls(), *python_per_step()]
        else:
            print("startup: convgpu._emulated is not built, and its calls are not measured", file=sys.stderr)
    results = Results(environment(load_before=load), rows)
    print(tables.render(results))
    if not options.no_record:
        report.save(results, f"startup_{device}", device == "gpu")
    return int(any(tables.missed(r) for r in rows))


if __name__ == "__main__":
    raise SystemExit(main())
