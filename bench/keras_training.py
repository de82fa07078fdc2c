"""Times Keras on convgpu and Keras on PyTorch, in two processes that take turns: python bench/keras_training.py

It times an epoch of LeNet-5, and predict_on_batch and train_on_batch of ResNet-50 on four images of 224 x 224. Results
are added to bench/results; ratios are PyTorch's time over ours. bench/cpu_bars.py times training steps of the others.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BACKENDS = ("convgpu", "torch")
EPOCH_IMAGES, EPOCH_BATCH = 6000, 64
CALLS = {"LeNet-5 epoch": "fit", "ResNet-50 predict": "predict_on_batch", "ResNet-50 train step": "train_on_batch"}
SAMPLES = {"LeNet-5 epoch": 7, "ResNet-50 predict": 7, "ResNet-50 train step": 7}
STEPS = ("MNIST train step", "ConvLSTM train step", "MobileNet train step", "ResNet-50 train step")


# --- the script that both processes run


def lenet5(keras: Any) -> Callable[[], object]:
    """One epoch over random images of digits' size."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Conv2D(6, 5, padding="same", activation="tanh"), layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="tanh"), layers.AveragePooling2D(2), layers.Flatten(),
        layers.Dense(120, activation="tanh"), layers.Dense(84, activation="tanh"),
        layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.random((EPOCH_IMAGES, 28, 28, 1), np.float32), rng.integers(0, 10, EPOCH_IMAGES)
    return lambda: model.fit(x, y, batch_size=EPOCH_BATCH, verbose=0)


def resnet50(keras: Any, train: bool) -> Callable[[], object]:
    """One batch of prediction, or with `train` one training step."""
    model = keras.applications.ResNet50(weights=None)
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.random((4, 224, 224, 3), np.float32), rng.integers(0, 1000, 4)
    return (lambda: model.train_on_batch(x, y)) if train else (lambda: model.predict_on_batch(x))


def mobilenet(keras: Any) -> Callable[[], object]:
    """One training step of MobileNet on four images of 128 x 128."""
    return _step(keras, keras.applications.MobileNet(input_shape=(128, 128, 3), weights=None), (4, 128, 128, 3), 1000)


def conv_lstm(keras: Any) -> Callable[[], object]:
    """One training step on four films of 8 pictures of 32 x 32."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 32, 32, 1)), layers.ConvLSTM2D(32, 3, padding="same"),
                              layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")])
    return _step(keras, model, (4, 8, 32, 32, 1), 10)


def mnist(keras: Any) -> Callable[[], object]:
    """One training step of Keras's own example for MNIST, on a batch of 128."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(), layers.Dropout(0.5),
        layers.Dense(10, activation="softmax")])
    return _step(keras, model, (128, 28, 28, 1), 10)


def _step(keras: Any, model: Any, shape: tuple[int, ...], classes: int) -> Callable[[], object]:
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.random(shape, np.float32), rng.integers(0, classes, shape[0])
    return lambda: model.train_on_batch(x, y)


WORK: dict[str, Callable[[Any], Callable[[], object]]] = {
    "LeNet-5 epoch": lenet5, "ResNet-50 predict": lambda keras: resnet50(keras, False),
    "ResNet-50 train step": lambda keras: resnet50(keras, True), "MNIST train step": mnist,
    "ConvLSTM train step": conv_lstm, "MobileNet train step": mobilenet}


def worker(backend: str, threads: int) -> None:
    """For each name on standard input, run it once more and answer with its wall and CPU seconds."""
    if backend == "convgpu":
        import convgpu.keras
        convgpu.set_num_threads(threads)
    import keras
    if backend == "torch":
        import torch
        torch.set_num_threads(threads)
    ready: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in ready:
            ready.clear()  # only one model is in memory at a time
            ready[name] = WORK[name](keras)
            ready[name]()
        wall, cpu = time.perf_counter(), time.process_time()
        ready[name]()
        print(f"RESULT {time.perf_counter() - wall} {time.process_time() - cpu}", flush=True)


# --- taking turns


def start(backend: str, threads: int) -> subprocess.Popen[str]:
    """Start a worker in its own process."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": str(threads),
                   "OPENBLAS_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, __file__, "--worker", backend, "--threads", str(threads)], text=True,
                            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def sample(process: subprocess.Popen[str], name: str) -> tuple[float, float]:
    """One sample of a worker: seconds by the wall clock and of CPU time."""
    assert process.stdin is not None and process.stdout is not None
    print(name, file=process.stdin, flush=True)
    for line in process.stdout:
        if line.startswith("RESULT "):
            wall, cpu = map(float, line.split()[1:])
            return wall, cpu
    raise RuntimeError(f"{name}: the process ended with {process.wait()}")


def rows(samples: dict[str, int], threads: int, budget: float = math.inf) -> Iterator[dict[str, Any]]:
    """A row for each name, until so many seconds have gone."""
    from convgpu.benchmark import Timing

    begin = time.perf_counter()
    processes = {backend: start(backend, threads) for backend in BACKENDS}
    try:
        for name, count in samples.items():
            if time.perf_counter() - begin > budget:
                break
            timings = {backend: Timing(1) for backend in BACKENDS}
            for _ in range(count):
                for backend, process in processes.items():
                    wall, cpu = sample(process, name)
                    timings[backend].wall.append(wall)
                    timings[backend].cpu.append(cpu)
            network, _, what = name.partition(" ")
            middle = {b: statistics.median(t.wall) for b, t in timings.items()}
            print(f"{name}: convgpu {middle['convgpu']:.3f} s, torch {middle['torch']:.3f} s, "
                  f"ratio {middle['torch'] / middle['convgpu']:.2f}", flush=True)
            yield {"kind": "keras", "network": network, "layer": what, "op": CALLS.get(name, "train_on_batch"),
                   "direction": what, "dtype": "float32", "threads": threads,
                   "timings": {f"{b} cpu": t for b, t in timings.items()}}
    finally:
        for process in processes.values():
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", choices=BACKENDS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        worker(chosen.worker, chosen.threads)
        return
    import report

    from convgpu.benchmark import Results, environment
    from convgpu.benchmark.report import tables

    results = Results(environment(), list(rows(SAMPLES, chosen.threads)))
    print(tables.render(results))
    report.save(results, "keras_cpu")


if __name__ == "__main__":
    main()
