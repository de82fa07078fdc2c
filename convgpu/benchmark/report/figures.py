"""The numbers of a row: which clock counts, the median, the rate, the share of the roof, the ratio to a peer."""

from __future__ import annotations

import math
from typing import Any

from ..roofs import Roof
from ..timing import Timing

OURS = "convgpu"
DOUBT = 1.5  # a ratio is noise if its samples leave it open by more than this factor
Row = dict[str, Any]


def name_of(device: str) -> str:
    """The name of the contender that is convgpu on "cpu" or "gpu"."""
    return f"{OURS} {device}"


def device_of(name: str) -> str:
    """The device that a contender runs on: "cpu" for "torch cpu channels_last"."""
    return name.split()[1]


def clock(row: Row, name: str) -> str:
    """The clock that counts: for a GPU its own events; for training steps the wall clock, which is what users wait for.

    For one CPU thread it is the CPU time, which other programs disturb least; otherwise the wall clock.
    """
    timing: Timing = row["timings"][name]
    if timing.gpu:
        return "wall" if row["kind"] == "train" else "gpu"
    return "cpu" if row.get("threads") == 1 else "wall"


def seconds(row: Row, name: str) -> float:
    """The median of a contender's samples."""
    return row["timings"][name].median(clock(row, name))


def spread(row: Row, name: str) -> float:
    """The distance between the quartiles, as a share of the median."""
    return row["timings"][name].spread(clock(row, name))


def has(row: Row, device: str) -> bool:
    """Whether convgpu was timed on this device."""
    return name_of(device) in row["timings"]


def best_peer(row: Row, device: str) -> str | None:
    """The name of the fastest peer on this device: PyTorch in its better layout."""
    names = [name for name in row["timings"] if not name.startswith(OURS) and device_of(name) == device]
    return min(names, key=lambda name: seconds(row, name)) if names else None


def limits(row: Row, over: str, under: str) -> tuple[float, float]:
    """The range in which the samples leave the ratio of two contenders' times: from quartile over quartile."""
    (low, high), (least, most) = (row["timings"][name].quartiles(clock(row, name)) for name in (over, under))
    return (low / most, high / least) if min(low, least) > 0 else (0.0, math.inf)


def is_noise(row: Row, over: str, under: str) -> bool:
    """Whether the samples leave the ratio of two contenders' times open by more than a factor of `DOUBT`."""
    low, high = limits(row, over, under)
    return high > DOUBT * low


def quotient(row: Row, over: str, under: str) -> float | None:
    """The median time of one contender over the median time of another; None where the ratio is noise."""
    return None if is_noise(row, over, under) else seconds(row, over) / seconds(row, under)


def rivals(row: Row, device: str) -> tuple[str, str] | None:
    """The names of the best peer and of convgpu on this device; None where one of them is missing."""
    peer = best_peer(row, device)
    return None if peer is None or not has(row, device) else (peer, name_of(device))


def devices(row: Row) -> tuple[str, str] | None:
    """The names of convgpu on the CPU and on the GPU; None where one of them is missing."""
    return (name_of("cpu"), name_of("gpu")) if has(row, "cpu") and has(row, "gpu") else None


def ratio(row: Row, device: str) -> float | None:
    """The peer's time over ours on this device (above 1, we are faster); None where one is missing, and for noise."""
    pair = rivals(row, device)
    return None if pair is None else quotient(row, *pair)


def speedup(row: Row) -> float | None:
    """Our time on the CPU over ours on the GPU; None where one is missing, and for noise."""
    pair = devices(row)
    return None if pair is None else quotient(row, *pair)


def by_memory(row: Row) -> bool:
    """Whether a row's work is counted in bytes: for all but products of matrices, convolutions and training."""
    return row["kind"] not in ("conv", "gemm", "train")


def rate(row: Row, name: str) -> float:
    """FLOP/s; for ops that only move memory, bytes per second."""
    return (row["bytes"] if by_memory(row) else row["flops"]) / seconds(row, name)


def share(row: Row, name: str, roofs: dict[str, dict[str, Any]]) -> float | None:
    """The least possible time over the measured time: 1 is the roof, and a cache can lead above it."""
    roof = roofs.get(device_of(name))
    return Roof(**roof).seconds(row) / seconds(row, name) if roof else None


def of_peak(row: Row, name: str, roofs: dict[str, dict[str, Any]]) -> float | None:
    """The share of the CPU's measured np.matmul peak; None for ops that move memory, and where no peak was measured."""
    return rate(row, name) / max(roofs["cpu"]["peak"].values()) if "cpu" in roofs and not by_memory(row) else None


def key(row: Row) -> tuple[Any, ...]:
    """The entries that two rows of two files must share to be the same measurement."""
    return tuple(row.get(part) for part in ("kind", "network", "layer", "direction", "dtype", "threads"))
