"""Whole networks: steps of training on every device, checked op by op first, and beside PyTorch if wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backends import GPU_BACKENDS
from ..backends.numpy.workers import get_num_threads
from ..device import CPU
from ..settings import current_backend
from .devices import Device
from .networks import Network, Step
from .peers import LAYOUTS, PREFIX, Torch
from .peers.twins import TorchStep
from .progress import Progress
from .report.figures import Row
from .results import Results, environment, load_average
from .timing import Clock, Contender, alternate
from .verification import WrongResultError
from .watched import watched

STEPS, BUDGET = 20, 60.0  # steps that the table speaks of; seconds of samples per row, of which there are at least 3


def measure(network: Network, batches: Sequence[int], devices: Sequence[Device], peer: Torch | None = None,
            steps: int = STEPS, budget: float = BUDGET, variants: Sequence[str] = ("",)) -> Results:
    """Time steps of training, one row for each batch size; Ctrl-C ends it early and keeps what there is.

    Where a product or a pooling of ours is wrong, or PyTorch's gradients differ, the contender is not timed: its row
    says so under "absent" (see `Results.failures`).

    Args:
        network: what is trained, on images of noise.
        batches: batch sizes.
        devices: where convgpu runs.
        peer: PyTorch, on the same devices.
        steps: how many steps are timed, and told of.
        budget: seconds after which fewer are timed.
        variants: of PyTorch: "" as it is, in both layouts; "compiled" by torch.compile; "amp", in bfloat16 by autocast.
    """
    rows: list[Row] = []
    load = load_average()
    roofs = {device.kind: vars(roof) for device in devices if (roof := device.roof("float32")) is not None}
    interrupted = False
    with Progress(sum(batches)) as progress:
        try:
            params = network.initial()
            for i, batch in enumerate(batches):
                before = sum(batches[:i])

                def watch(what: str, share: float, batch: int = batch, before: int = before) -> None:
                    progress.reach(before + share * batch)
                    progress.begin(f"{network.title} batch {batch}: {what}")

                rows.append(_row(network, params, batch, devices, peer, steps, budget, variants, watch))
        except KeyboardInterrupt:
            interrupted = True
    packages = ["numpy", *["torch"] * (peer is not None)]
    return Results(environment(packages, load), rows, roofs, interrupted)


def _row(network: Network, params: Any, batch: int, devices: Sequence[Device], peer: Torch | None, steps: int,
         budget: float, variants: Sequence[str], watch: Callable[[str, float], None]) -> Row:
    contenders: dict[str, Contender] = {}
    clocks: dict[str, Clock] = {}
    absent: dict[str, str] = {}
    flops = 0
    for device in devices:
        watch(f"checking on the {device.kind}", 0.0)
        found, counted = _checked(network, params, network.data(batch), device, peer, variants, absent)
        contenders |= found
        clocks |= dict.fromkeys(found, device.clock)
        flops = max(flops, counted)
    timings = alternate(contenders, steps, 0.0, clocks=clocks, budget=budget,
                        watch=lambda i: watch(f"step {i + 1} of {steps}", i / steps)) if contenders else {}
    row = {"kind": "train", "network": network.title, "layer": f"b{batch}", "direction": "step", "dtype": "float32",
           "batch": batch, "steps": steps, "threads": get_num_threads(), "flops": flops, "unit": "float32", "bytes": 0,
           "timings": timings}
    return {**row, "absent": absent} if absent else row


def _checked(network: Network, params: Any, data: tuple[np.ndarray, np.ndarray], device: Device, peer: Torch | None,
             variants: Sequence[str], absent: dict[str, str]) -> tuple[dict[str, Contender], int]:
    """Steps on this device that have been seen to be right, and the FLOPs of one; what is not goes to `absent`."""
    backend = current_backend() if device.kind == CPU else GPU_BACKENDS[0]
    try:
        step = Step(network, params, *data, device.kind)
        with watched(backend, device.c) as seen:
            loss, grads = step.gradients()
    except (NotImplementedError, MemoryError, WrongResultError) as error:
        absent[device.name] = f"{type(error).__name__}: {error}"
        return {}, 0
    found: dict[str, Contender] = {device.name: step}
    if peer is None or _lacks(peer, device.kind, absent):
        return found, seen.flops
    for name, theirs in torch_steps(peer, network, params, *data, device.kind, variants, absent).items():
        try:
            if not theirs.amp:
                theirs.check(name, loss, grads)
            found[name] = theirs
        except WrongResultError as error:
            absent[name] = f"WrongResultError: {error}"
    return found, seen.flops


def torch_steps(peer: Torch, network: Network, params: Any, x: np.ndarray, y: np.ndarray, device: str,
                variants: Sequence[str], absent: dict[str, str]) -> dict[str, TorchStep]:
    """PyTorch's contenders, by name; what this installation cannot compile goes to `absent`."""
    found = {}
    for variant in variants:
        for layout in LAYOUTS if not variant else LAYOUTS[:1]:
            name = " ".join(filter(None, (PREFIX, device, variant, layout)))
            step = TorchStep(peer, network, params, x, y, device, layout, variant == "amp", variant == "compiled")
            if variant == "compiled":
                try:
                    step()  # compiles it: a host compiler may be missing
                except Exception as error:  # whatever the compiler's own stack raises
                    absent[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                    continue
                step = TorchStep(peer, network, params, x, y, device, layout, compiled=True)
            found[name] = step
    return found


def _lacks(peer: Torch, kind: str, absent: dict[str, str]) -> bool:
    """Whether PyTorch cannot compute there, and why."""
    why = peer.can_use(kind)
    if why is not None:
        absent[f"{PREFIX} {kind}"] = why
    return why is not None
