"""Compares predictions, which were made before anything ran, with measurements.

    python bench/predict.py --list             one line of JSON for each row: its key, plan, floor and estimate
    python bench/predict.py --score RESULTS... print the share of the intervals that were hit, and the misses

RESULTS are lines of rows (rows.jsonl) or files of bench/results. bench/README.md describes bench/predictions/*.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_tables
import kernels
import rows

from convgpu.benchmark import Results, Timing
from convgpu.benchmark.report import figures

PREDICTIONS = Path(__file__).parent / "predictions"
OURS, THEIRS = "convgpu", "torch"


@dataclass(frozen=True)
class Prediction:
    """A predicted interval, in milliseconds, for the time of a contender in a row.

    contender: "convgpu", "torch" (the fastest of PyTorch's contenders in the row), or the full name of a contender.
    """

    key: str
    low: float
    high: float
    why: str
    date: str
    contender: str = OURS


@dataclass(frozen=True)
class Outcome:
    """A prediction with the measured median, in milliseconds, and the date of the measurement."""

    prediction: Prediction
    measured: float
    date: str

    @property
    def hit(self) -> bool:
        """Whether the median lies in the interval."""
        return self.prediction.low <= self.measured <= self.prediction.high

    @property
    def early(self) -> bool:
        """Whether the prediction is older than the measurement."""
        return self.prediction.date < self.date

    @property
    def off(self) -> float:
        """The measured time over the nearer end of the interval: 1 for a hit."""
        return self.measured / min(max(self.measured, self.prediction.low), self.prediction.high)


def load(paths: Iterable[Path]) -> list[Prediction]:
    """The predictions in these files.

    Raises:
        ValueError: a key that no table has, a wrong interval, a missing reason, or the same prediction twice.
    """
    known, found, seen = set(all_keys()), [], set()
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        for row in content["rows"]:
            low, high = row["ms"]
            contender = row.get("contender", OURS)
            where = f"{path.name}: {row['key']}"
            if row["key"] not in known:
                raise ValueError(f"{where}: expected a key of python bench/predict.py --list")
            if not 0 < low <= high:
                raise ValueError(f"{where}: expected 0 < low <= high, got {row['ms']}")
            if not row.get("why"):
                raise ValueError(f"{where}: expected a reason, 'why'")
            if (row["key"], contender) in seen:
                raise ValueError(f"{where}: predicted twice for {contender}")
            seen.add((row["key"], contender))
            found.append(Prediction(row["key"], low, high, row["why"], content["date"], contender))
    return found


def measured(paths: Iterable[Path]) -> dict[str, tuple[dict[str, Any], str]]:
    """The latest row of each key, with its date; rows of a rehearsal are left out."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for path in paths:
        for key, row, date in _rows(path):
            if not row.get("tiny") and (key not in found or date >= found[key][1]):
                found[key] = row, date
    return found


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    if path.suffix == ".json":
        results = Results.load(path)
        for row in results.rows:
            for key in row.get("keys", [row["key"]] if "key" in row else []):
                yield key, row, results.environment["date"]
        return
    dates: dict[str, str] = {}
    for line in rows.read(path):
        if "environment" in line:
            dates[line["run"]] = line["environment"]["date"]
        elif "timings" in line.get("row", {}):
            timings = {name: Timing(**timing) for name, timing in line["row"]["timings"].items()}
            yield line["key"], {**line["row"], "timings": timings}, dates[line["run"]]


def outcomes(predictions: Sequence[Prediction], results: dict[str, tuple[dict[str, Any], str]]) -> list[Outcome]:
    """The outcomes of predictions whose row and contender were measured."""
    found = []
    for prediction in predictions:
        row, date = results.get(prediction.key, (None, ""))
        names = [name for name in (row or {"timings": {}})["timings"] if _means(prediction.contender, name)]
        if row is not None and names:
            seconds = min(figures.seconds(row, name) for name in names)
            found.append(Outcome(prediction, 1e3 * seconds, date))
    return found


def _means(contender: str, name: str) -> bool:
    return name.split()[0] == contender if contender in (OURS, THEIRS) else name == contender


def report(predictions: Sequence[Prediction], found: Sequence[Outcome]) -> Iterator[str]:
    """The share of intervals that were hit, for each bench and overall, and the misses, the worst first."""
    counted = [outcome for outcome in found if outcome.early]
    benches = dict.fromkeys(outcome.prediction.key.partition(":")[0] for outcome in counted)
    for name, some in [*((b, [o for o in counted if o.prediction.key.startswith(f"{b}:")]) for b in benches),
                       ("all", counted)]:
        hits = sum(outcome.hit for outcome in some)
        share = f"{hits / len(some):.0%}" if some else "-"
        width = f", half of them narrower than a factor of {_width(some):.2g}" if some else ""
        yield f"{name}: {hits} of {len(some)} intervals hit ({share}){width}"
    yield f"{len(predictions) - len(found)} predictions wait for a measurement"
    if len(found) > len(counted):
        yield f"{len(found) - len(counted)} are not older than what they predict, and do not count"
    misses = sorted((o for o in counted if not o.hit), key=lambda o: max(o.off, 1 / o.off), reverse=True)
    for miss in misses:
        p = miss.prediction
        yield (f"missed {p.key} ({p.contender}): {miss.measured:.4g} ms, predicted {p.low:.4g} to {p.high:.4g}, "
               f"{miss.off:.2f} times the nearer end; {p.why}")


def _width(some: Sequence[Outcome]) -> float:
    return statistics.median(outcome.prediction.high / outcome.prediction.low for outcome in some)


def all_keys() -> list[str]:
    """The keys of all tables, in the order in which they run."""
    keys = [entry.key for table in gpu_tables.TABLES.values() for entry in table()]
    return keys + [gpu_tables.COPY] + [key for some in gpu_tables.training_keys().values() for key in some]


def listing() -> Iterator[dict[str, Any]]:
    """What is known of each row before it runs. The denominators are PyTorch's alone, so they have no plan of ours."""
    for name, table in gpu_tables.TABLES.items():
        for row in kernels.expected(table()):
            yield row if name != "denominators" else {**row, "plan": "(PyTorch)", "estimate_ms": None}
    yield {"key": gpu_tables.COPY, "part": "copies", "bytes": 2 << 30, "floor_ms": round(1e3 * (2 << 30) / 4.8e12, 5)}
    for bench, keys in gpu_tables.training_keys().items():
        yield from ({"key": key, "part": bench} for key in keys)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(".")[0])
    parser.add_argument("--list", action="store_true", help="name all rows")
    parser.add_argument("--score", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--predictions", nargs="+", type=Path, metavar="FILE", help="default: all of bench/predictions")
    options = parser.parse_args()
    if options.list:
        for row in listing():
            print(json.dumps(row))
        return 0
    predictions = load(options.predictions or sorted(PREDICTIONS.glob("*.json")))
    if not options.score:
        print(f"{len(predictions)} predictions of {len(all_keys())} rows; --score RESULTS tells which held")
        return 0
    for text in report(predictions, outcomes(predictions, measured(options.score))):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
