"""Timing of training steps of whole networks, checked op by op first, and compared with PyTorch if wanted."""

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

# the number of steps that the table reports; the seconds of samples per row, of which there are at least 3
STEPS, BUDGET = 20, 60.0


def measure(network: Network, batches: Sequence[int], devices: Sequence[Device], peer: Torch | None = None,
            steps: int = STEPS, budget: float = BUDGET, variants: Sequence[str] | None = None,
            progress: Progress | None = None, dtype: str = "float32") -> Results:
    """Time training steps, and return one row for each batch size; Ctrl-C stops early and keeps the rows so far.

    Where convgpu computes a wrong product or pooling, or PyTorch's gradients differ, the contender is not timed; the
    row explains this under "absent" (see `Results.failures`).

    Args:
        network: the network that is trained, on images of noise.
        batches: the batch sizes.
        devices: the devices that convgpu runs on.
        peer: PyTorch, on the same devices.
        steps: how many steps are timed and reported.
        budget: seconds after which no more steps are timed.
        variants: PyTorch's variants: "" in both layouts; in channels_last "compiled" by torch.compile, "amp" in a half
            type by autocast, and "compiled amp". None: "", or "amp" where dtype is a half type.
        progress: is told which step runs, and how much work is left.
        dtype: what the networks compute in, by `convgpu.mixed` and PyTorch's autocast (which takes bfloat16 beside
            float32); the parameters are float32.
    """
    variants = (("amp",) if dtype != "float32" else ("",)) if variants is None else variants
    progress = progress or Progress()
    rows: list[Row] = []
    load = load_average()
    roofs = {device.kind: vars(roof) for device in devices if (roof := device.roof("float32")) is not None}
    interrupted = False
    with progress.of(sum(batches)):
        try:
            params = network.initial()
            for i, batch in enumerate(batches):
                before = sum(batches[:i])

                def watch(what: str, share: float, batch: int = batch, before: int = before) -> None:
                    progress.reach(before + share * batch)
                    progress.begin(f"{network.title} batch {batch}: {what}")

                rows.append(_row(network, params, batch, devices, peer, steps, budget, variants, dtype, watch))
        except KeyboardInterrupt:
            interrupted = True
    packages = ["numpy", *["torch"] * (peer is not None)]
    return Results(environment(packages, load), rows, roofs, interrupted)


def _row(network: Network, params: Any, batch: int, devices: Sequence[Device], peer: Torch | None, steps: int,
         budget: float, variants: Sequence[str], dtype: str, watch: Callable[[str, float], None]) -> Row:
    contenders: dict[str, Contender] = {}
    clocks: dict[str, Clock] = {}
    absent: dict[str, str] = {}
    flops = 0
    for device in devices:
        watch(f"checking on the {device.kind}", 0.0)
        found, counted = _checked(network, params, network.data(batch), device, peer, variants, dtype, absent)
        contenders |= found
        clocks |= dict.fromkeys(found, device.clock)
        flops = max(flops, counted)
    timings = alternate(contenders, steps, 0.0, clocks=clocks, budget=budget,
                        watch=lambda i: watch(f"step {i + 1} of {steps}", i / steps)) if contenders else {}
    row = {"kind": "train", "network": network.title, "layer": f"b{batch}", "direction": "step", "dtype": dtype,
           "batch": batch, "steps": steps, "threads": get_num_threads(), "flops": flops, "unit": dtype, "bytes": 0,
           "timings": timings}
    return {**row, "absent": absent} if absent else row


def _checked(network: Network, params: Any, data: tuple[np.ndarray, np.ndarray], device: Device, peer: Torch | None,
             variants: Sequence[str], dtype: str, absent: dict[str, str]) -> tuple[dict[str, Contender], int]:
    """Contenders on this device whose steps are right, and the FLOPs of a step; `absent` explains the others."""
    backend = current_backend() if device.kind == CPU else GPU_BACKENDS[0]
    try:
        step = Step(network, params, *data, device.kind, dtype)
        with watched(backend, device.c) as seen:
            loss, grads = step.gradients()
    except (NotImplementedError, MemoryError, WrongResultError) as error:
        absent[device.name] = f"{type(error).__name__}: {error}"
        return {}, 0
    found: dict[str, Contender] = {device.name: step}
    if peer is None or _lacks(peer, device.kind, absent):
        return found, seen.flops
    for name, theirs in torch_steps(peer, network, params, *data, device.kind, variants, absent, dtype).items():
        try:
            if not theirs.amp and dtype == "float32":
                theirs.check(name, loss, grads)
            found[name] = theirs
        except WrongResultError as error:
            absent[name] = f"WrongResultError: {error}"
    return found, seen.flops


def torch_steps(peer: Torch, network: Network, params: Any, x: np.ndarray, y: np.ndarray, device: str,
                variants: Sequence[str], absent: dict[str, str], dtype: str = "float32") -> dict[str, TorchStep]:
    """PyTorch's contenders by name; `absent` explains what this installation cannot compile."""
    found = {}
    half = "bfloat16" if dtype == "float32" else dtype
    for variant in variants:
        compiled, amp = "compiled" in variant, half if "amp" in variant else None
        for layout in LAYOUTS if not variant else LAYOUTS[:1]:
            name = " ".join(filter(None, (PREFIX, device, variant, layout)))
            step = TorchStep(peer, network, params, x, y, device, layout, amp, compiled)
            if compiled:
                try:
                    step()  # this call compiles the network, and fails where a host compiler is missing
                except Exception as error:  # torch.compile may raise any exception
                    absent[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                    continue
                step = TorchStep(peer, network, params, x, y, device, layout, amp, compiled)
            found[name] = step
    return found


def _lacks(peer: Torch, kind: str, absent: dict[str, str]) -> bool:
    """Whether PyTorch cannot compute on this device; `absent` gets the reason."""
    why = peer.can_use(kind)
    if why is not None:
        absent[f"{PREFIX} {kind}"] = why
    return why is not None
