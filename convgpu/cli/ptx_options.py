"""The options of `convgpu ptx run`, `check` and `count`."""

from __future__ import annotations

import argparse

from .benchmark_options import whole


def add_ptx(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ptx with its three actions."""
    ptx = commands.add_parser("ptx", help="run kernels of PTX or CUDA on the CPU, and look for races",
                              description="Run PTX, or CUDA C++ that NVRTC compiles, on the CPU. docs/ptx.md says what "
                                          "is checked and what cannot be.")
    actions = ptx.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="list the kernels; fail where the machine lacks an instruction")
    run = actions.add_parser("run", help="run a kernel and say what is wrong with it")
    count = actions.add_parser("count", help="run a kernel and count the instructions that warps execute")
    for action in (check, run, count):
        action.add_argument("file", metavar="FILE", help="a .ptx file, or a .cu file for NVRTC")
        action.add_argument("--arch", default="sm_90a", help="for a .cu file, as sm_80 (default: sm_90a)")
    for action in (run, count):
        action.add_argument("--arguments", nargs="*", default=[], metavar="ARGUMENT",
                            help="float32:2.5 for a number; zeros:, ones:, arange: or random:float32:64x64 for an "
                                 "array; or a FILE.npy")
        action.add_argument("--kernel", metavar="NAME", help="needed where the file has several")
        action.add_argument("--grid", type=_sizes, default=(1,), metavar="X[xYxZ]", help="blocks (default: 1)")
        action.add_argument("--block", type=_sizes, required=True, metavar="X[xYxZ]", help="threads of a block")
        action.add_argument("--shared", type=whole(0), default=0, metavar="BYTES", help="dynamic shared memory")
        action.add_argument("--save", action="append", default=[], metavar="INDEX=FILE.npy",
                            help="write the array of that argument, counted from 0 (may be repeated)")
        action.add_argument("--no-races", dest="races", action="store_false", help="do not look for races")
    check.set_defaults(run=_check)
    run.set_defaults(run=_run)
    count.set_defaults(run=_count)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) if part.isdigit() else 0 for part in text.split("x"))
    if not 1 <= len(sizes) <= 3 or 0 in sizes:
        raise argparse.ArgumentTypeError(f"expected one to three sizes of at least 1, as 4x4, got {text!r}")
    return sizes


def _check(action: str, **options: object) -> int:
    from ..ptx.command import check

    return check(**options)  # type: ignore[arg-type]


def _run(action: str, **options: object) -> int:
    from ..ptx.command import run

    return run(**options)  # type: ignore[arg-type]


def _count(action: str, **options: object) -> int:
    from ..ptx.command import run

    return run(**options, count=True)  # type: ignore[arg-type]
