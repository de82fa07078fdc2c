"""The subcommands of `convgpu benchmark`: they measure, print results, and save them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..backends.numpy.workers import set_num_threads
from ..benchmark import devices as all_devices
from ..benchmark import functions as between
from ..benchmark import layers as ops
from ..benchmark import training
from ..benchmark.devices import CpuDevice, Device
from ..benchmark.peers import Torch
from ..benchmark.problems import call_problems, conv_problem, gemm_problem, layer_problems, pool_problem
from ..benchmark.report import compare as comparison
from ..benchmark.report.grid import wrapped
from ..benchmark.report.tables import render
from ..benchmark.results import Results
from ..benchmark.timing import quiet_blas
from ..cases.networks import NETWORKS as LAYERS
from ..cases.problem import Problem
from ..files import UsageError, check_writable
from ..geometry import conv_geometry, pool_geometry
from .progress import Bar

INTERRUPTED = 130


def layers(network: str, batch: int | None, direction: str, dtype: str, samples: int, **common: Any) -> int:
    """Time every layer of a network."""
    problems = layer_problems(LAYERS[network], _directions(direction), dtype, batch)
    return _measure_ops(problems, samples, **common)


def gemm(shape: Sequence[int], trans_a: bool, trans_b: bool, dtype: str, samples: int, **common: Any) -> int:
    """Time one matrix product."""
    m, n, k = shape
    return _measure_ops([gemm_problem(m, n, k, trans_a, trans_b, dtype)], samples, **common)


def conv(shape: Sequence[int], filters: int, kernel: Sequence[int], stride: Sequence[int], padding: str,
         dilation: Sequence[int], groups: int, direction: str, dtype: str, samples: int, **common: Any) -> int:
    """Time one convolution."""
    (r, s), channels = (kernel[0], kernel[-1]), shape[-1]
    if channels % groups or filters % groups:
        raise UsageError(f"conv: expected --groups that divides {channels} channels and {filters} filters, "
                         f"got {groups}")
    geo = _geometry(conv_geometry, "conv", tuple(shape), (r, s, channels // groups, filters), _pair(stride),
                    _padding(padding), _pair(dilation), groups, "channels_last")
    name = f"{r}x{s} {shape[-1]}>{filters} @{shape[1]}x{shape[2]} b{shape[0]}"
    return _measure_ops([conv_problem(geo, d, dtype, layer=name) for d in _directions(direction)], samples, **common)


def pool(shape: Sequence[int], window: Sequence[int], stride: Sequence[int] | None, padding: str, average: bool,
         direction: str, dtype: str, samples: int, **common: Any) -> int:
    """Time one pooling."""
    geo = _geometry(pool_geometry, "pool", tuple(shape), _pair(window), None if stride is None else _pair(stride),
                    _padding(padding), 1, False, True, "channels_last")
    name = f"pool {'x'.join(map(str, geo.window))} {shape[-1]} @{shape[1]}x{shape[2]} b{shape[0]}"
    problems = [pool_problem(geo, d, dtype, average, layer=name) for d in _directions(direction) if d != "wgrad"]
    return _measure_ops(problems, samples, **common)


def op(name: str, arguments: Sequence[str], gradients: bool, dtype: str, samples: int, **common: Any) -> int:
    """Time the calls of the backends that a function makes."""
    named = {key: _value(text) for key, given, text in (word.partition("=") for word in arguments) if given}
    operands = [_value(word) for word in arguments if "=" not in word]
    try:
        problems = call_problems(name, operands, named, dtype, gradients)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error).removeprefix("explain: ")) from error
    return _measure_ops(problems, samples, **common)


def functions(dtype: str, samples: int, device: Sequence[str] | None, **common: Any) -> int:
    """Time what lies between convolutions, forward and backward, and steps of optimizers."""
    if device is not None and list(device) != ["cpu"]:
        raise UsageError("functions: expected --device cpu, since on a GPU the ops are timed: convgpu benchmark op")
    return _measure(lambda devices, peer: between.measure(CpuDevice(), peer, samples, dtype, Bar()), device=["cpu"],
                    **common)


def train(network: str, batch: Sequence[int] | None, dtype: str, steps: int, budget: float, **common: Any) -> int:
    """Time steps of training."""
    from ..benchmark.networks import NETWORKS

    chosen = NETWORKS[network]
    return _measure(lambda devices, peer: training.measure(chosen, batch or chosen.batches, devices, peer, steps,
                                                           budget, progress=Bar(), dtype=dtype), **common)


def show(file: str, markdown: bool, plot: str | None) -> int:
    """Print the results in a file, without running anything."""
    results = Results.load(file)
    _check_outputs(plot, None)
    print(render(results, markdown))
    _draw(results, plot)
    return 0


def compare(a: str, b: str, markdown: bool) -> int:
    """Compare two result files. The status is 1 where convgpu became slower; UsageError if they do not compare."""
    try:
        told, slower = comparison.report(Results.load(a), Results.load(b), markdown)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(told)
    return 1 if slower else 0


def _directions(direction: str) -> tuple[str, ...]:
    return ("fprop", "dgrad", "wgrad") if direction == "all" else (direction,)


def _pair(values: Sequence[int]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _padding(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _value(text: str) -> Any:
    """An argument from the command line: 8x56x56x64 is a shape, True or (2, 1) what Python reads in it, same a word."""
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(map(int, text.split("x")))
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _geometry(make: Callable[..., Any], *arguments: Any) -> Any:
    """The geometry from the command's options; sizes that do not fit together are reported as wrong usage."""
    try:
        return make(*arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _measure_ops(problems: Sequence[Problem], samples: int, **common: Any) -> int:
    return _measure(lambda devices, peer: ops.measure(problems, devices, peer, samples, progress=Bar()),
                    **common)


def _measure(measure: Callable[[list[Device], Torch | None], Results], device: Sequence[str] | None,
             threads: int | None, peers: str | None, markdown: bool, plot: str | None, json: str | None) -> int:
    """What all measuring commands share. Things that can fail are tried first, so that no hour of samples is lost."""
    quiet_blas()
    _check_outputs(plot, json)
    if threads is not None:
        set_num_threads(threads)
    peer = Torch() if peers else None
    devices, remark = all_devices.choose(device)
    results = measure(devices, peer)
    print(render(results, markdown))
    if remark:
        print("\n" + wrapped(remark))
    if json is not None:
        results.save(json)
    _draw(results, plot)
    if results.interrupted:
        print("convgpu benchmark: interrupted; what was measured is kept", file=sys.stderr)
        return INTERRUPTED
    failures = results.failures
    for why in failures:
        print(f"convgpu benchmark: {why}", file=sys.stderr)
    return int(bool(failures))


def _check_outputs(plot: str | None, json: str | None) -> None:
    """Raise an error before anything runs, if the picture or the file cannot be written."""
    if plot is not None:
        from ..benchmark.report.plot import formats

        check_writable(plot, "--plot", formats())
    if json is not None:
        check_writable(json, "--json")


def _draw(results: Results, plot: str | None) -> None:
    if plot is None:
        return
    if not any(row["timings"] for row in results.rows):
        print(f"\nNo picture {plot}: nothing was timed.")
        return
    from ..benchmark.report.plot import draw

    draw(results, plot)
    print(f"\n{plot}")
