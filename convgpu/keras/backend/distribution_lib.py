"""keras.distribution on one device: devices are listed, and a distribution over several is refused."""

from __future__ import annotations

from typing import Any

from convgpu.info import gpu_obstacle

from .core import current_device


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of a type, "cpu" or "gpu", by default of that which computes: ["cpu:0"] or ["gpu:0"]; else none."""
    kind = (device_type or current_device()).lower()
    usable = kind == "cpu" or (kind == "gpu" and not gpu_obstacle())
    return [f"{kind}:0"] if usable else []


def get_device_count(device_type: str | None = None) -> int:
    """How many devices `list_devices` gives."""
    return len(list_devices(device_type))


def check(distribution: Any) -> None:
    """Raise for a distribution, which is about to be set; None is taken."""
    if distribution is not None:
        raise NotImplementedError(f"keras.distribution: convgpu computes on one device, got {distribution!r}; leave "
                                  "set_distribution out, or use Keras's JAX backend for several devices")


def initialize(job_addresses: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Refused: there are no other processes to compute with."""
    raise NotImplementedError("keras.distribution.initialize: convgpu computes in one process on one device")


def num_processes() -> int:
    """1."""
    return 1


def process_id() -> int:
    """0."""
    return 0


def distribute_tensor(tensor: Any, layout: Any) -> Any:
    """Refused: there is one device."""
    raise NotImplementedError("keras.distribution.distribute_tensor: convgpu computes on one device; leave it out")


_to_backend_mesh = _to_backend_layout = check
