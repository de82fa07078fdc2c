"""Times ONNX models in convgpu.onnx and in ONNX Runtime, in turn: python bench/onnx_models.py [--threads 1 2]

The models are the light ones of the package onnx, whose weights are constants, and the ResNet-50 of keras.applications
with random weights, which convgpu.keras exports. Each reads a batch of the size that its file names: one image. The
results are compared before anything is timed. Results are added to bench/results; ratios are ONNX Runtime's time over
ours. On one thread the CPU time counts, which other programs disturb least.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import report

import convgpu as cg
from convgpu.benchmark import Results, alternate, environment, quiet_blas
from convgpu.benchmark.report import figures
from convgpu.benchmark.results import load_average

PACKAGES = ("numpy", "onnx", "onnxruntime", "keras")
AGREEMENT = 1e-4  # of the largest output


def light_models() -> Iterator[tuple[str, Path]]:
    """The models that the package onnx brings along."""
    import onnx

    for path in sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("light_*.onnx")):
        yield path.stem, path


def resnet50(folder: Path) -> Path:
    """ResNet-50 with random weights, as Keras writes it."""
    import convgpu.keras  # noqa: F401 - the backend

    # isort: split
    import keras

    model = keras.applications.ResNet50(weights=None)
    model(np.zeros((1, 224, 224, 3), "float32"))
    path = folder / "resnet50.onnx"
    signature = [keras.InputSpec(shape=(1, 224, 224, 3), dtype="float32")]
    model.export(path, format="onnx", verbose=False, input_signature=signature)
    return path


def row(name: str, path: Path, threads: int, samples: int) -> dict[str, Any]:
    """One model in both, whose outputs must agree."""
    import onnxruntime

    model = cg.onnx.load(path)
    x = np.random.default_rng(0).random(model.shapes[0], np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def ours() -> Any:
        return model(model.params, x).array

    def theirs() -> Any:
        return session.run(None, {model.inputs[0]: x})[0]

    expected, got = theirs(), ours()
    if np.abs(got - expected).max() > AGREEMENT * np.abs(expected).max():
        raise ValueError(f"{name}: expected ONNX Runtime's result, got another; not timed")
    timings = alternate({"convgpu cpu": ours, "onnxruntime cpu": theirs}, samples)
    return {"kind": "onnx", "network": "", "layer": name, "direction": "predict", "op": "onnx", "dtype": "float32",
            "threads": threads, "timings": timings}


def measure(threads: int, samples: int, only: str) -> Results:
    """The rows of all models whose name contains this text."""
    load, rows = load_average(), []
    cg.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        models = list(light_models())
        if only in "resnet50":
            models.append(("resnet50", resnet50(Path(folder))))
        for name, path in models:
            if only in name:
                rows.append(row(name, path, threads, samples))
                ours, theirs = (1e3 * figures.seconds(rows[-1], n) for n in ("convgpu cpu", "onnxruntime cpu"))
                print(f"{threads} {name:20} {ours:9.1f} ms {theirs:9.1f} ms {theirs / ours:5.2f}", flush=True)
    return Results(environment(PACKAGES, load), rows)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--only", default="", help="models with this text; nothing is recorded")
    options = parser.parse_args()
    quiet_blas()
    for threads in options.threads:
        results = measure(threads, options.samples, options.only)
        if not options.only:
            report.save(results, f"onnx_models_{threads}", rendered=False)


if __name__ == "__main__":
    main()
