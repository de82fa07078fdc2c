"""Every kernel instance in three timings of asynchronous work, times three orders of threads, under both sanitizers.

    python tests/kernels/full_product.py [FAMILY...]     rewrites docs/full-product.md, all of it or these rows
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sanitized  # noqa: E402 - the folder above is no package

PAGE = sanitized.ROOT / "docs" / "full-product.md"
HEAD = """# The full product

Every problem of `tests/kernels/test_*.cpp`, in three timings of asynchronous copies and MMAs (copies late and MMAs
early, copies early and MMAs late, both at random moments) times three orders of threads (ascending, descending,
random), under AddressSanitizer with UBSan and under ThreadSanitizer; `python tests/kernels/full_product.py` writes it.
Runs: problems times nine. Instances: distinct kernels, template arguments counted. Reports: those of the sanitizers,
and wrong results.

| family | sanitizer | instances | runs | reports | seconds | commit | date |
|---|---|---:|---:|---:|---:|---|---|
"""


def main() -> int:
    """Run it; the exit status tells whether anything was found."""
    unknown = set(sys.argv[1:]) - set(sanitized.FAMILIES)
    if unknown:
        print(f"full_product: expected families of {', '.join(sanitized.FAMILIES)}, got {', '.join(sorted(unknown))}",
              file=sys.stderr)
        return 2
    rows, found, commit = _rows_there(), 0, _commit()  # asked before the page itself makes the tree differ from it
    for sanitizer in sanitized.BUILDS:
        program = sanitized.build(sanitizer)
        for family in sys.argv[1:] or sanitized.FAMILIES:
            reports, row = _run(program, family, sanitizer, commit)
            found += reports
            if row is None:
                print(f"{family}: no kernel was launched, so it has no row")
                continue
            rows[family, sanitizer] = row
            PAGE.write_text(HEAD + "".join(rows[key] + "\n" for key in sorted(rows)))
            print(row, flush=True)
    return int(found > 0)


def _commit() -> str:
    return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True,
                          cwd=sanitized.ROOT).stdout.strip()


def _rows_there() -> dict[tuple[str, str], str]:
    """The rows of the page as it is, by family and sanitizer, but for families that are gone."""
    lines = PAGE.read_text().splitlines() if PAGE.is_file() else []
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in lines if line.startswith("| ")}
    return {(family, sanitizer): line for (family, sanitizer), line in rows.items() if family in sanitized.FAMILIES}


def _run(program: Path, family: str, sanitizer: str, commit: str) -> tuple[int, str | None]:
    """The number of reports, and the row; None instead of a row where the family launches no kernel."""
    start = time.perf_counter()
    done = sanitized.run(program, family, CONVGPU_FULL_PRODUCT="1")
    seconds = time.perf_counter() - start
    runs = sum(map(int, re.findall(r"^ok \w+, (\d+) runs", done.stdout, re.MULTILINE)))
    instances = re.search(r"^(\d+) instances", done.stdout, re.MULTILINE)
    reports = sanitized.reports(done.stdout) + re.findall(r"^FAILED .*", done.stdout, re.MULTILINE)
    if done.returncode and not reports:
        reports = [f"exit status {done.returncode}"]
    print("\n".join(reports[:20]), end="\n" if reports else "")
    if not runs and not reports:
        return 0, None
    cells = (family, sanitizer, instances[1] if instances else "-", runs, len(reports), f"{seconds:.0f}", commit,
             f"{datetime.now(UTC):%Y-%m-%d}")
    return len(reports), f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
