"""Whole networks: steps of training on every device, checked op by op first, and beside PyTorch if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backends import GPU_BACKENDS, current_backend
from ..backends.numpy.workers import get_num_threads
from ..device import CPU
from .devices import Device
from .figures import Row
from .networks import Network, Step
from .peers import LAYOUTS, PREFIX, Torch
from .progress import Progress
from .results import Results, environment, load_average
from .timing import Clock, Contender, alternate
from .twins import TorchStep
from .watched import watched

STEPS, BUDGET = 20, 60.0  # steps that the table speaks of; seconds of samples per row, of which there are at least 3


def measure(network: Network, batches: Sequence[int], devices: Sequence[Device], peer: Torch | None = None,
            steps: int = STEPS, budget: float = BUDGET) -> Results:
    """Time steps of training, one row for each batch size; Ctrl-C ends it early and keeps what there is.

    Args:
        network: what is trained, on images of noise.
        batches: batch sizes.
        devices: where convgpu runs.
        peer: PyTorch, on the same devices.
        steps: how many steps are timed, and told of.
        budget: seconds after which fewer are timed.

    Raises:
        WrongResultError: a product or a pooling of ours is wrong, or PyTorch's gradients differ.
    """
    rows: list[Row] = []
    load = load_average()
    roofs = {device.kind: vars(roof) for device in devices if (roof := device.roof("float32")) is not None}
    interrupted = False
    with Progress(sum(batches)) as progress:
        try:
            params = network.initial()
            for batch in batches:
                rows.append(_row(network, params, batch, devices, peer, steps, budget, progress))
                progress.done(batch)
        except KeyboardInterrupt:
            interrupted = True
    packages = ["numpy", *["torch"] * (peer is not None)]
    return Results(environment(packages, load), rows, roofs, interrupted)


def _row(network: Network, params: Any, batch: int, devices: Sequence[Device], peer: Torch | None, steps: int,
         budget: float, progress: Progress) -> Row:
    title = f"{network.title} batch {batch}"
    x, y = network.data(batch)
    contenders: dict[str, Contender] = {}
    clocks: dict[str, Clock] = {}
    absent: dict[str, str] = {}
    flops = 0
    for device in devices:
        progress.begin(f"{title}: checking on the {device.kind}")
        try:
            step = Step(network, params, x, y, device.kind)
            with watched(current_backend() if device.kind == CPU else GPU_BACKENDS[0], device.c) as seen:
                loss, grads = step.gradients()
        except (NotImplementedError, MemoryError) as error:
            absent[device.name] = f"{type(error).__name__}: {error}"
            continue
        flops = seen.flops
        contenders[device.name], clocks[device.name] = step, device.clock
        if peer is not None and not _lacks(peer, device.kind, absent):
            for layout in LAYOUTS:
                name = f"{PREFIX} {device.kind} {layout}"
                theirs = TorchStep(peer, network, params, x, y, device.kind, layout)
                theirs.check(name, loss, grads)
                contenders[name], clocks[name] = theirs, device.clock
    timings = alternate(contenders, steps, 0.0, clocks=clocks, budget=budget,
                        watch=lambda i: progress.begin(f"{title}: step {i + 1} of {steps}")) if contenders else {}
    row = {"kind": "train", "network": network.title, "layer": f"b{batch}", "direction": "step", "dtype": "float32",
           "batch": batch, "steps": steps, "threads": get_num_threads(), "flops": flops, "unit": "float32", "bytes": 0,
           "timings": timings}
    return {**row, "absent": absent} if absent else row


def _lacks(peer: Torch, kind: str, absent: dict[str, str]) -> bool:
    """Whether PyTorch cannot compute there, and why."""
    why = peer.can_use(kind)
    if why is not None:
        absent[f"{PREFIX} {kind}"] = why
    return why is not None
