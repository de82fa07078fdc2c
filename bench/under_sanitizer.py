"""A few awkward cases of every family under compute-sanitizer: python bench/under_sanitizer.py memcheck [--rows FILE]

A process for each case, whose output is the row's finding where there is one: the tool slows kernels by a factor of ten
or more, and a run that is stopped keeps the cases that it has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from kernels import open_rows
from rows import add_options, own

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
CASES = ("channels_17_33", "groups_3_strided", "padding_asymmetric", "conv3d", "depthwise_7x7", "depthwise_3x3_strided",
         "transposed_4x4_stride_2", "tile_edges", "block_edge_257", "odd_31_5_63", "channels-16-shared-window",
         "channels-24-disjoint", "adaptive-uneven", "4x16x16x17", "2x67x5x15", "batch, odd channels", "blocks", "odd",
         "columns_odd", "bad_label", "goes_around")
# CuPy's pool would hide what lies beyond an array: without it, every array is an allocation of its own.
PROGRAM = """
import sys, cupy
cupy.cuda.set_allocator(None)
from convgpu.cli import main
sys.exit(main(sys.argv[1:]))"""
LONGEST = 60.0  # seconds of a case


def finding(tool: str, case: str) -> str | None:
    """What the tool, or convgpu verify, says against a case; None: nothing."""
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", PROGRAM, "verify",
               "--backend", "cuda", "--quick", "--case", case]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LONGEST)
    except subprocess.TimeoutExpired as error:
        return f"longer than {LONGEST:.0f} s: " + (error.stdout or b"").decode(errors="replace")[-1000:]
    said = done.stdout.decode(errors="replace")
    print(said, flush=True)
    return None if done.returncode == 0 else f"exit status {done.returncode}: {said[:1500]}"


def main() -> int:
    """Run what is missing; 1 where anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("tool", choices=TOOLS)
    add_options(parser)
    options = parser.parse_args()
    rows, found = open_rows(options), 0
    for case in own(CASES[:options.tiny or None]):
        key = f"{options.tool}: {case}"
        if key in rows:
            continue
        what = finding(options.tool, case)
        if what is None:
            rows.add(key, {"found": 0})
        else:
            found += 1
            rows.fail(key, what)
        print(f"{key}: {what or 'nothing was found'}", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
