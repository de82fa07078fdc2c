"""What a launch found wrong, printed and counted."""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple


class Place(NamedTuple):
    """One thread at one instruction. `line` is 0 where the module has no line information (nvcc -lineinfo)."""

    file: str
    line: int
    ptx_line: int
    opcode: str
    block: tuple[int, int, int]
    thread: tuple[int, int, int]

    def __str__(self) -> str:
        source = f"{self.file}:{self.line} (PTX line {self.ptx_line}, {self.opcode})" if self.line else (
            f"PTX line {self.ptx_line} ({self.opcode})")
        return f"{source}, block {self.block}, thread {self.thread}"


class Finding(NamedTuple):
    """One fault of a kernel.

    `kind` is "race", "uninitialised", "in flight", "bounds", "misaligned", "read-only", "divergence", "barrier",
    "deadlock", "proxy", "assertion", "trap", "printf" or "limit". `other` is the access that a race is with. `times`
    counts how often the same pair of instructions did it; places and address are those of the first time.
    """

    kind: str
    message: str
    kernel: str
    address: str
    place: Place
    other: Place | None
    times: int

    def __str__(self) -> str:
        lines = [f"{self.kernel}: {self.kind}: {self.message}" + (f": {self.address}" if self.address else ""),
                 f"    at   {self.place}"]
        if self.other is not None:
            lines.append(f"    with {self.other}")
        if self.times > 1:
            lines.append(f"    {self.times} times")
        return "\n".join(lines)


class Count(NamedTuple):
    """How often warps executed one instruction of a kernel."""

    opcode: str
    ptx_line: int
    line: int
    times: int


class Report:
    """What a launch did: `findings`, `output` of printf, how many `warp_instructions` ran, on how many `workers`."""

    def __init__(self, kernel: str, told: dict) -> None:
        self.kernel = kernel
        self.findings = tuple(_finding(found) for found in told["findings"])
        self.output: str = told["output"].decode(errors="replace")
        self.warp_instructions: int = told["instructions"]
        self.workers: int = told["workers"]
        self._executed = told["executed"]

    @property
    def counts(self) -> list[Count]:
        """Every instruction of the kernel, in its order, with how often warps executed it."""
        return [Count(*row) for row in self._executed if row[0] != "the end"]

    @property
    def opcodes(self) -> dict[str, int]:
        """How often warps executed each opcode, the most frequent first."""
        total: Counter[str] = Counter()
        for count in self.counts:
            total[count.opcode] += count.times
        return dict(total.most_common())

    def raise_if_wrong(self) -> None:
        """Raise KernelError if anything was found."""
        if self.findings:
            raise KernelError(self)

    def __str__(self) -> str:
        done = f"{self.kernel}: {self.warp_instructions} warp instructions"
        if not self.findings:
            return f"{done}, nothing found wrong"
        return "\n".join([*map(str, self.findings), done])


class KernelError(RuntimeError):
    """A kernel did what it must not do; `report` says what and where."""

    def __init__(self, report: Report) -> None:
        super().__init__("\n".join(map(str, report.findings)))
        self.report = report


def _place(told: dict | None) -> Place | None:
    if told is None:
        return None
    file = told["file"].removeprefix(os.getcwd() + os.sep)
    return Place(file, told["line"], told["ptx_line"], told["opcode"], told["block"], told["thread"])


def _finding(told: dict) -> Finding:
    place = _place(told["place"])
    assert place is not None
    return Finding(told["kind"], told["message"], told["kernel"], told["address"], place, _place(told["other"]),
                   told["times"])
