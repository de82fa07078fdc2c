"""`convgpu train` trains LeNet-5 on handwritten digits, and fills a folder with weights and pictures."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import convgpu as cg

from .. import info
from ..architectures.lenet5 import shapes
from ..extras import require
from ..files import UsageError
from ..storage import Spec, describe, read
from . import data as datasets
from . import storage
from .data import Dataset
from .lenet5 import Training, predict
from .lock import locked

EPOCHS, BATCH_SIZE, SEED = 15, 32, 0
MODEL, HISTORY, CHECKPOINT = "model.safetensors", "history.json", "checkpoint.safetensors"
LOSS_SCALE = "loss_scale"  # what the optimizer remembers besides trees of arrays
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


def train(data: str | None = None, out: str = "convgpu-run", epochs: int | None = None, batch_size: int | None = None,
          seed: int | None = None, device: str | None = None, resume: bool = False, overwrite: bool = False,
          dtype: str | None = None) -> int:
    """Train the network, and fill the folder `out`; returns the exit status.

    Under mpiexec every process takes a part of each batch, and the first one prints and writes.

    Args:
        data: an .npz file (see `data.from_file`); None: scikit-learn's digits.
        out: the folder; no other run may write to it meanwhile.
        epochs, batch_size, seed: None means 15, 32 and 0, or with `resume` the values that the run began with.
        device: "cpu" or "gpu"; None: the GPU where a usable one exists.
        resume: continue from the checkpoint in `out`, to the same bits as a run without the stop.
        overwrite: start anew where `out` already holds a run.
        dtype: what the network computes in, "float32", "bfloat16" or "float16" (see `convgpu.mixed`); its parameters
            are float32. None: float32, or with `resume` what the run began with.
    """
    for module in ("tqdm", "safetensors", "matplotlib"):  # fail before an hour of training, not after it
        require(module, "training")
    start, folder = time.perf_counter(), Path(out)
    if not cg.distributed.is_initialized():
        cg.distributed.init()
    first = cg.distributed.rank() == 0
    if resume and overwrite:
        raise UsageError("expected one of --resume and --overwrite, got both")
    chosen, remark = info.choose_device(device)
    if not resume:
        dataset = datasets.from_file(data) if data else datasets.digits(SEED if seed is None else seed)
        shapes(dataset.shape, len(dataset.class_names))  # raises an error for images that are too small
        folder.mkdir(parents=True, exist_ok=True)
    elif not (folder / CHECKPOINT).is_file():
        raise FileNotFoundError(f"--resume: {folder / CHECKPOINT}: there is no such file")
    with locked(folder) if first else nullcontext():
        for left in folder.glob("*.partial") if first else ():  # from a run that was killed while it wrote
            left.unlink()
        arrays, saved = _checkpoint(folder / CHECKPOINT) if resume else ({}, {})
        if first and not resume and not overwrite:
            _refuse_to_overwrite(folder)
        epochs = _enough(epochs or saved.get("epochs", EPOCHS), saved)
        batch_size = _agreed("batch-size", batch_size, saved.get("batch_size"), BATCH_SIZE)
        seed = _agreed("seed", seed, saved.get("seed"), SEED)
        dtype = _agreed("dtype", dtype, saved.get("dtype"), "float32")
        if resume:
            dataset = datasets.from_file(data) if data else datasets.digits(seed)
        run = Training(dataset, seed, batch_size, chosen, dtype)
        if resume:
            _restore(run, arrays, saved, folder / CHECKPOINT)
        if first:
            print(_introduction(run))
        if first and remark:
            print(remark)
        return _run(run, epochs, folder, data, start)


def _run(run: Training, epochs: int, folder: Path, data: str | None, start: float) -> int:
    """Continue the run to its end and draw the pictures, or save a checkpoint where Ctrl-C stops it."""
    with _stop_on_interrupt() as stop:
        _epochs(run, epochs, folder, stop)
        save(run, epochs, folder)
    first = cg.distributed.rank() == 0
    if stop.is_set():
        if first:
            _say_how_to_go_on(run, epochs, folder, data)
        return INTERRUPTED
    if not first:
        return 0
    probabilities = predict(run.params, run.data.x_test, run.device)
    from . import pictures

    drawn = pictures.draw_all(folder, run, probabilities)
    print(_conclusion(run.data, probabilities, time.perf_counter() - start))
    print(f"\nIn {folder}: {', '.join([MODEL, HISTORY, CHECKPOINT, *drawn])}")
    print(f"Read a picture: convgpu predict --weights {folder / MODEL} IMAGE")
    return 0


def _refuse_to_overwrite(folder: Path) -> None:
    """Raise UsageError where the folder holds a run, so that a repeated command does not lose hours of work."""
    there = [name for name in (MODEL, HISTORY, CHECKPOINT) if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder}: expected a folder without a run, got {', '.join(there)}; --resume goes on with "
                         "it, --out names another folder, --overwrite begins anew")


def _enough(epochs: int, saved: dict[str, Any]) -> int:
    """The wanted number of epochs, which must not be less than the run already has."""
    behind = len(saved.get("history", ())) + bool(saved.get("step_in_epoch"))
    if epochs < behind:
        begun = f"begun epoch {behind}" if saved["step_in_epoch"] else f"{behind} epochs behind it"
        raise UsageError(f"--resume: expected --epochs of at least {behind}, because the run has {begun}, got {epochs}")
    return epochs


def _checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the settings of the run that is resumed."""
    specs, saved = describe(path)
    kinds = {"seed": int, "batch_size": int, "epochs": int, "data": str, "device": str, "dtype": str,
             "optimizer_steps": int, "history": list, "step_in_epoch": int, "loss_sum": (int, float), "correct": int}
    saved.setdefault("dtype", "float32")  # checkpoints of earlier versions do not name it
    wrong = [name for name, kind in kinds.items() if not isinstance(saved.get(name), kind)]  # type: ignore[arg-type]
    if wrong:
        raise ValueError(f"{path}: expected a checkpoint of convgpu train, got {', '.join(wrong)} missing "
                         "or damaged")
    largest = path.stat().st_size
    if any(math.prod(spec.shape) > largest for spec in specs.values()):
        raise ValueError(f"{path}: expected arrays of at most the file's {largest} bytes, got larger ones")
    return read(path, specs), saved


def _agreed(name: str, wanted: Any, saved: Any, default: Any) -> Any:
    """The value of an option that must not change when a run is resumed."""
    if saved is None:
        return default if wanted is None else wanted
    if wanted not in (None, saved):
        raise ValueError(f"--resume: expected --{name} {saved}, as the run has, got {wanted}; another is a new run")
    return saved


def _epochs(run: Training, epochs: int, folder: Path, stop: threading.Event) -> None:
    """Train up to `epochs` whole epochs, saving after each, or until `stop` is set."""
    tqdm = require("tqdm", "the progress bar").tqdm
    silent = cg.distributed.rank() > 0
    while run.epoch < epochs and not stop.is_set():
        run.begin_epoch()
        with tqdm(total=run.steps, initial=run.step_in_epoch, desc=f"epoch {run.epoch + 1:>2}/{epochs}", leave=True,
                  bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt} {elapsed}{postfix}", mininterval=0.2,
                  disable=silent) as bar:
            while run.step_in_epoch < run.steps and not stop.is_set():
                run.step()
                _stop_together(stop)
                bar.set_postfix_str(f"loss {run.loss_sum / run.seen:.3f}, accuracy {run.correct / run.seen:.1%}", False)
                bar.update()
            if run.step_in_epoch < run.steps:
                return
            entry = run.end_epoch()
            bar.set_postfix_str(f"loss {entry['loss']:.3f}, accuracy {entry['accuracy']:.1%}, "
                                f"test accuracy {entry['test_accuracy']:.1%}")
        save(run, epochs, folder)


def _stop_together(stop: threading.Event) -> None:
    """Stop after the same step on all processes, wherever Ctrl-C has arrived."""
    if cg.distributed.size() > 1 and cg.distributed.allreduce(np.array([stop.is_set()]), mean=False).item():
        stop.set()


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is never torn; a second Ctrl-C interrupts as usual."""
    stop = threading.Event()

    def on_interrupt(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def save(run: Training, epochs: int, folder: Path) -> None:
    """Write the weights, the history, and the checkpoint that `--resume` goes on from: the first process does."""
    if cg.distributed.rank() > 0:
        return
    settings = {"seed": run.seed, "batch_size": run.batch_size, "dtype": run.dtype}
    last = run.history[-1]["test_accuracy"] if run.history else None
    typical = run.data.typical
    cg.save(folder / MODEL, {**run.params, "typical": {"means": typical.means}},
            {"architecture": "lenet5", "input_size": run.data.shape, "scaling": asdict(run.data.scaling),
             "class_names": run.data.class_names, "typical_limit": typical.limit})
    storage.save_json(folder / HISTORY, {"test_accuracy": last, "data": run.data.name, "device": run.device, **settings,
                                         "epochs": run.history})
    optimizer = run.optimizer.state_dict()
    steps = optimizer.pop("steps")
    cg.save(folder / CHECKPOINT, {"params": run.params, "optimizer": optimizer},
            {**settings, "epochs": epochs, "data": run.data.fingerprint, "device": run.device, "optimizer_steps": steps,
             "history": run.history, "step_in_epoch": run.step_in_epoch, "loss_sum": run.loss_sum,
             "correct": run.correct})


def _restore(run: Training, arrays: dict[str, np.ndarray], saved: dict[str, Any], path: Path) -> None:
    """Bring a run to the state of its checkpoint."""
    if saved["data"] != run.data.fingerprint:
        raise ValueError(f"{path}: expected the --data that the run began with, got {run.data.name}")
    if saved["device"] != run.device:
        print(f"The run began on the {saved['device']} and goes on on the {run.device}: equal up to rounding only.",
              file=sys.stderr)
    template = shapes(run.data.shape, len(run.data.class_names))
    specs = {name: Spec(array.shape, "F32" if array.dtype == np.float32 else array.dtype.name)
             for name, array in arrays.items()}
    storage.check(template, specs, path, "params.")
    run.params = cg.tree.map(lambda p: cg.tensor(p, device=run.device), storage.fill(template, arrays, "params."))
    scaled = run.optimizer.loss_scale is not None
    if saved["optimizer_steps"] or scaled:
        slots = {name.split(".")[1] for name in arrays if name.startswith("optimizer.")} - {LOSS_SCALE}
        for slot in slots:
            storage.check(template, specs, path, f"optimizer.{slot}.")
        state = {slot: storage.fill(template, arrays, f"optimizer.{slot}.") for slot in slots}
        if scaled:
            storage.check({LOSS_SCALE: (2,)}, specs, path, "optimizer.")
            state[LOSS_SCALE] = arrays[f"optimizer.{LOSS_SCALE}"]
        run.optimizer.load_state_dict({"steps": saved["optimizer_steps"], **state})
    run.history, run.step_in_epoch = saved["history"], saved["step_in_epoch"]
    run.loss_sum, run.correct = saved["loss_sum"], saved["correct"]


def _introduction(run: Training) -> str:
    data = run.data
    count = sum(p.size for p in cg.tree.leaves(run.params))
    height, width, channels = data.shape
    processes = f", {cg.distributed.size()} processes" if cg.distributed.size() > 1 else ""
    where = (f"the CPU ({info.processor()}), NumPy {np.__version__}, backend {cg.current_backend()}"
             if run.device == "cpu" else f"the GPU ({info.gpu_name()}), backend cuda and CuPy")
    return (f"LeNet-5, {count:,} parameters, on {data.name}: {len(data.x_train):,} images to learn from, "
            f"{len(data.x_test):,} to test with, {height}x{width}x{channels}, {len(data.class_names)} classes\n"
            f"Computing on {where}{processes}")


def _say_how_to_go_on(run: Training, epochs: int, folder: Path, data: str | None) -> None:
    more = f" --data {data}" if data else ""
    print(f"\nStopped after {run.epoch} whole epochs and {run.step_in_epoch} of {run.steps} steps. "
          f"Saved in {folder}: {MODEL}, {HISTORY}, {CHECKPOINT}\n"
          f"Go on with: convgpu train --resume --out {folder} --epochs {epochs}{more}")


def confusion_matrix(truth: np.ndarray, read: np.ndarray, classes: int) -> np.ndarray:
    """How often class i (row) was read as class j (column).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[1, 0],
           [1, 1]])
    """
    return np.bincount(truth * classes + read, minlength=classes * classes).reshape(classes, classes)


def _conclusion(data: Dataset, probabilities: np.ndarray, seconds: float) -> str:
    read = probabilities.argmax(axis=1)
    wrong = int((read != data.y_test).sum())
    lines = [f"\nTest accuracy {1 - wrong / len(read):.1%} ({wrong} of {len(read):,} misread), {seconds:.1f} s in all"]
    names = data.class_names
    if len(names) <= 20:
        matrix = confusion_matrix(data.y_test, read, len(names))
        width = max(4, *(len(name) + 1 for name in names), len(str(matrix.max())) + 1)
        lines += ["\nConfusion matrix: rows are what it is, columns what was read"]
        lines += ["".join(f"{name:>{width}}" for name in ("", *names))]
        lines += ["".join(f"{cell:>{width}}" for cell in (name, *row)) for name, row in zip(names, matrix.tolist())]
    return "\n".join(lines)
