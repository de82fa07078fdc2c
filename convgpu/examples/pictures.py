"""The four pictures of a run: its loss, its confusion matrix, its first filters, its mistakes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require
from ..files import replace
from .lenet5 import Training

INK, ACCENT, QUIET = "#1b2a41", "#d1495b", "#8d99ae"
DPI = 150
MISREAD_SHOWN = 18


def draw_all(folder: Path, run: Training, probabilities: np.ndarray) -> list[str]:
    """Draw all four pictures and save them as PNG files; returns their names.

    `probabilities` are the predictions for the test images, (N, classes).
    """
    style: dict[str, Any] = {
        "font.size": 11, "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
        "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 13,
        "axes.titlelocation": "left", "figure.facecolor": "white", "legend.frameon": False,
    }
    drawings: dict[str, Callable[[], Any]] = {
        "loss.png": lambda: loss(run),
        "confusion.png": lambda: confusion(run, probabilities),
        "filters.png": lambda: filters(np.asarray(run.params["conv1"]["w"].numpy())),
        "misread.png": lambda: misread(run, probabilities),
    }
    with require("matplotlib", "the pictures").rc_context(style):
        for name, drawing in drawings.items():
            picture = io.BytesIO()
            drawing().savefig(picture, dpi=DPI, format="png")
            replace(folder / name, picture.getvalue())
    return list(drawings)


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def loss(run: Training) -> Any:
    """A figure of loss and accuracy by epoch, on the training and the test images."""
    epochs = [entry["epoch"] for entry in run.history]
    figure, ((left, right),) = _figure(9, 3.8, 1, 2)
    for axes, key, title in ((left, "loss", "Loss"), (right, "accuracy", "Accuracy")):
        factor = 100 if key == "accuracy" else 1
        for prefix, colour, label in (("", QUIET, "training"), ("test_", ACCENT, "test")):
            values = [factor * entry[prefix + key] for entry in run.history]
            axes.plot(epochs, values, color=colour, marker="o", markersize=4, linewidth=2, label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", alpha=0.25)
    left.set_ylim(bottom=0)
    left.legend()
    right.yaxis.set_major_formatter("{x:g}%")
    right.annotate(f"{values[-1]:.1f}%", (epochs[-1], values[-1]), (0, -16), textcoords="offset points",
                   ha="right", color=ACCENT, weight="bold")
    figure.supxlabel("training: images shifted at random, averaged while the weights change", size=8,
                     color=QUIET)
    return figure


def confusion(run: Training, probabilities: np.ndarray) -> Any:
    """A figure of the confusion matrix: how often each class was read as each other."""
    from .train_digits import confusion_matrix

    names = run.data.class_names
    n = len(names)
    matrix = confusion_matrix(run.data.y_test, probabilities.argmax(axis=1), n)
    size = min(max(0.46 * n + 1.6, 4.5), 12)
    figure, ((axes,),) = _figure(size, size)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    mistakes = ~np.eye(n, dtype=bool)
    axes.imshow(np.where(mistakes, np.nan, share), cmap="Blues", vmin=0, vmax=1.6)
    axes.imshow(np.where(mistakes & (matrix > 0), share, np.nan), cmap="Reds", vmin=-0.15, vmax=0.5)
    if n <= 20:
        for i, j in np.argwhere(matrix):
            axes.text(j, i, str(matrix[i, j]), ha="center", va="center", color=INK, weight="bold" if i != j else None)
    shown = range(0, n, max(1, n // 20))
    long = max(map(len, names)) > 3
    axes.set_xticks(shown, [names[i] for i in shown], rotation=90 if long else 0)
    axes.set_yticks(shown, [names[i] for i in shown])
    axes.set(xlabel="read", ylabel="is")
    axes.set_title(f"{int(matrix[mistakes].sum())} of {matrix.sum():,} test images misread")
    if n <= 50:
        axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=QUIET, alpha=0.25, linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return figure


def filters(w: np.ndarray) -> Any:
    """A figure of the first convolution's filters (R, S, C, K), one row per channel: blue is negative, red positive."""
    channels, count = min(w.shape[2], 8), w.shape[3]
    figure, axes = _figure(1.35 * count, 1.35 * channels + 0.8, channels, count)
    largest = np.abs(w).max() or 1.0
    for c in range(channels):
        for k in range(count):
            image = axes[c, k].imshow(w[:, :, c, k], cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes[c, k].set(xticks=[], yticks=[])
            axes[c, k].spines[:].set_visible(False)
    figure.suptitle(f"The {count} filters of the first convolution", x=0.01, ha="left", size=13)
    figure.colorbar(image, ax=axes, shrink=0.9, aspect=12, pad=0.02).outline.set_visible(False)
    return figure


def misread(run: Training, probabilities: np.ndarray) -> Any:
    """A figure of the test images that were misread, the most confident mistakes first."""
    data, read = run.data, probabilities.argmax(axis=1)
    wrong = np.flatnonzero(read != data.y_test)
    wrong = wrong[np.argsort(-probabilities[wrong, read[wrong]], kind="stable")]
    shown = wrong[:MISREAD_SHOWN]
    columns = min(max(len(shown), 3), 6)
    rows = max(-(-len(shown) // columns), 1)
    figure, axes = _figure(1.6 * columns, 2 * rows + 0.5, rows, columns)
    for place in axes.flat:
        place.set_axis_off()
    for place, i in zip(axes.flat, shown):
        image = np.clip(data.x_test[i] * data.scaling.std + data.scaling.mean, 0, 1)
        colour = {} if image.shape[2] == 3 else {"cmap": "gray", "vmin": 0, "vmax": 1}
        place.imshow(image if image.shape[2] == 3 else image.mean(axis=2), **colour)
        name, truth = data.class_names[read[i]], data.class_names[data.y_test[i]]
        place.set_title(f"read {name} ({probabilities[i, read[i]]:.0%})\nis {truth}", size=10, loc="center")
    some = "" if len(shown) == len(wrong) else f", the {len(shown)} surest mistakes"
    figure.suptitle(f"Misread: {len(wrong)} of {len(read):,}{some}", x=0.01, ha="left", size=13)
    return figure
