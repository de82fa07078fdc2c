"""Puts the results of a run on a GPU into bench/results: python bench/collect.py FOLDER_OR_FILE...

Lines of rows (bench/rows.py) become the files of bench/results, one file for each benchmark, device and commit, with
every sample; then the page is rendered. Rows of several runs are joined where device and commit are the same. Rows
without timings (answers of the probe, verified cases, rates) are kept in on_gpu-<device>-<commit>.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import report
import rows

from convgpu.benchmark import Results, Timing
from convgpu.benchmark.results import device_of
from convgpu.benchmark.roofs import gpu_roof

NAME = "rows.jsonl"
# For each beginning of a key: the benchmark of bench/manifest.py that its rows belong to.
BENCHES = {"hopper": "hopper", "kernels": "kernels", "denominators": "denominators", "train": "train_gpu",
           "train compiled": "train_gpu", "train cpu": "train_gpu"}


def collect(paths: Iterable[Path]) -> list[Path]:
    """Write the files of bench/results, and render the page; returns their paths.

    Raises:
        ValueError: nothing was measured, or rows come from a rehearsal with small sizes, or from no GPU.
    """
    found = results_of([path / NAME if path.is_dir() else path for path in paths])
    if not found:
        raise ValueError("expected rows with timings, found none")
    written = []
    for bench, results in found:
        written.append(report.save(results, bench, True, rendered=False))
    written += keep_others([path / NAME if path.is_dir() else path for path in paths])
    report.render_if_possible()
    return written


def keep_others(paths: Sequence[Path]) -> list[Path]:
    """Keep rows without timings and rows that failed as the lines that they are, after a line with their environment.
    """
    groups: dict[Path, list[rows.Line]] = {}
    for path in paths:
        environments: dict[str, rows.Line] = {}
        for line in rows.read(path):
            if "environment" in line:
                environments[line["run"]] = line
            elif line["key"].partition(":")[0] not in BENCHES or "timings" not in line.get("row", {}):
                environment = environments[line["run"]]["environment"]
                file = report.RESULTS / (f"on_gpu-{device_of(environment, True)}-"
                                         f"{environment['commit'] or report.NO_COMMIT}.jsonl")
                lines = groups.setdefault(file, [])
                lines += [environments[line["run"]]] * (environments[line["run"]] not in lines) + [line]
    for file, lines in groups.items():
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        print(file)
    return list(groups)


def results_of(paths: Sequence[Path]) -> list[tuple[str, Results]]:
    """A pair (benchmark, results) for all rows with timings; the last row of each key counts."""
    groups: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {}
    for path in paths:
        environments: dict[str, dict[str, Any]] = {}
        for line in rows.read(path):
            if "environment" in line:
                environments[line["run"]] = line["environment"]
                continue
            row = line.get("row", {})
            bench = BENCHES.get(line["key"].partition(":")[0])
            if bench is None or "timings" not in row:
                continue
            environment = environments[line["run"]]
            if row.get("tiny") or "gpu" not in environment:
                raise ValueError(f"{path}: {line['key']}: expected a row that was measured on a GPU, got one of "
                                 + ("a rehearsal" if row.get("tiny") else "a machine without nvidia-smi"))
            name = bench, device_of(environment, True), environment["commit"] or report.NO_COMMIT
            first, kept = groups.setdefault(name, (environment, {}))
            timings = {who: Timing(**timing) for who, timing in row["timings"].items()}
            kept[line["key"]] = {**row, "key": line["key"], "measured": environment["date"], "timings": timings}
    found = []
    for (bench, _, _), (environment, kept) in groups.items():
        roof = gpu_roof(environment["gpu"]["name"])
        found.append((bench, Results(environment, _merged(kept), {"gpu": vars(roof)} if roof else {})))
    return found


def _merged(kept: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, where steps of one network and batch that were timed apart are joined; `keys` lists a row's keys."""
    found: dict[Any, dict[str, Any]] = {}
    for key, row in kept.items():
        same = (row["network"], row["layer"]) if row["kind"] == "train" else key
        first = found.setdefault(same, {**row, "keys": []})
        first["keys"].append(key)
        for part in ("timings", "absent"):
            if part in row or part in first:
                first[part] = {**first.get(part, {}), **row.get(part, {})}
    return list(found.values())


def failures(paths: Iterable[Path]) -> dict[str, str]:
    """Rows that failed, or whose results were wrong, and no later run mended."""
    found: dict[str, str] = {}
    for path in paths:
        for line in rows.read(path / NAME if path.is_dir() else path):
            if "error" in line:
                found[line["key"]] = line["error"]
            elif "key" in line:
                found.pop(line["key"], None)
                for who, why in line["row"].get("absent", {}).items():
                    if who.startswith("convgpu") and "WrongResultError" in why:
                        found[line["key"]] = f"{who}: {why}"
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE", help=f"a folder holds {NAME}")
    paths = parser.parse_args().paths
    try:
        collect(paths)
    except (ValueError, json.JSONDecodeError) as error:
        print(f"collect: {error}", file=sys.stderr)
        return 1
    for key, why in failures(paths).items():
        print(f"failed: {key}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
