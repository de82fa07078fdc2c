"""What `convgpu ptx run`, `check` and `count` do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import UsageError, check_writable
from .module import Kernel, Module, load
from .nvrtc import compile as compile_source

MADE = {
    "zeros": lambda shape, dtype: np.zeros(shape, dtype),
    "ones": lambda shape, dtype: np.ones(shape, dtype),
    "arange": lambda shape, dtype: np.arange(int(np.prod(shape))).astype(dtype).reshape(shape),
    "random": lambda shape, dtype: np.asarray(np.random.default_rng(0).random(shape)).astype(dtype),
}
ARGUMENT = ("float32:2.5 for a number; zeros:, ones:, arange: or random:float32:64x64 for an array; or the name of a "
            ".npy file")


def check(file: str, arch: str) -> int:
    """Decode every kernel of a file, and print them. Returns the exit status."""
    module = _open(file, arch)
    for name, facts in module.check().items():
        parameters = ", ".join(f"{p.type}{f'[{p.size}]' if p.array else ''} {p.name}" for p in module[name].parameters)
        print(f"{name}({parameters}): {facts['steps']} instructions, {facts['shared']} bytes of static shared memory")
    return 0


def run(file: str, arch: str, kernel: str | None, grid: tuple[int, ...], block: tuple[int, ...], shared: int,
        arguments: Sequence[str], save: Sequence[str], count: bool = False, races: bool = True) -> int:
    """Run one kernel of a file; print the report, or how often each opcode was executed. Returns the exit status."""
    made = [_argument(text) for text in arguments]
    saves = [_save(text, made) for text in save]
    launched = _choose(_open(file, arch), kernel)
    try:
        report = launched.launch(grid, block, made, shared=shared, races=races)
    except TypeError as error:
        raise ValueError(str(error)) from None
    for index, path in saves:
        np.save(path, made[index])
    if count:
        for opcode, times in report.opcodes.items():
            print(f"{times:12d} {opcode}")
    print(report)
    return 1 if report.findings else 0


def _open(file: str, arch: str) -> Module:
    path = Path(file)
    if path.suffix == ".ptx":
        return load(path)
    return compile_source(path.read_text(encoding="utf-8"), arch, name=str(path),
                          options=[f"--include-path={path.parent}"])


def _choose(module: Module, name: str | None) -> Kernel:
    if name is None and len(module.kernels) != 1:
        raise UsageError(f"--kernel: expected one of {', '.join(module.kernels) or 'none: the file has no kernels'}")
    try:
        return module[module.kernels[0] if name is None else name]
    except KeyError as error:
        raise UsageError(f"--kernel: {error.args[0]}") from None


def _argument(text: str) -> Any:
    if text.endswith(".npy"):
        return np.load(text)
    head, _, rest = text.partition(":")
    wrong = UsageError(f"{text}: expected {ARGUMENT}")
    try:
        if head in MADE:
            dtype, _, shape = rest.partition(":")
            return MADE[head](tuple(map(int, shape.split("x"))), np.dtype(dtype))
        if not rest:
            raise wrong
        dtype_ = np.dtype(head)
        return dtype_.type(float(rest) if dtype_.kind == "f" else int(rest, 0))
    except (TypeError, ValueError):
        raise wrong from None


def _save(text: str, arguments: Sequence[Any]) -> tuple[int, str]:
    index, _, path = text.partition("=")
    if not (index.isdigit() and path.endswith(".npy") and int(index) < len(arguments)
            and isinstance(arguments[int(index)], np.ndarray)):
        raise UsageError(f"--save {text}: expected INDEX=FILE.npy with the index of an array among the arguments")
    check_writable(path, "--save")
    return int(index), path
