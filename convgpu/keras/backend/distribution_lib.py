"""keras.distribution on one device: its devices can be listed; distributions over several devices raise an error."""

from __future__ import annotations

from typing import Any

from convgpu.info import gpu_obstacle

from .core import current_device


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of a type, "cpu" or "gpu", by default of the type that computes: ["cpu:0"] or ["gpu:0"], or none."""
    kind = (device_type or current_device()).lower()
    usable = kind == "cpu" or (kind == "gpu" and not gpu_obstacle())
    return [f"{kind}:0"] if usable else []


def get_device_count(device_type: str | None = None) -> int:
    """How many devices `list_devices` gives."""
    return len(list_devices(device_type))


def check(distribution: Any) -> None:
    """Raise an error for a distribution that is about to be set; None is allowed."""
    if distribution is not None:
        raise NotImplementedError(f"keras.distribution: convgpu computes on one device, got {distribution!r}; leave "
                                  "set_distribution out, or use Keras's JAX backend for several devices")


def initialize(job_addresses: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Raise an error: there are no other processes to compute with."""
    raise NotImplementedError("keras.distribution.initialize: convgpu computes in one process on one device")


def num_processes() -> int:
    """The number of processes: 1."""
    return 1


def process_id() -> int:
    """The number of this process: 0."""
    return 0


def distribute_tensor(tensor: Any, layout: Any) -> Any:
    """Raise an error: there is only one device."""
    raise NotImplementedError("keras.distribution.distribute_tensor: convgpu computes on one device; leave it out")


_to_backend_mesh = _to_backend_layout = check
