"""Windows of a time series in batches: `keras.utils.timeseries_dataset_from_array` without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


class TimeseriesDataset(keras.utils.PyDataset):
    """Batches of windows, for `fit`, `evaluate`, `predict` and for loops. Windows are made when they are needed."""

    def __init__(self, data: np.ndarray, targets: np.ndarray | None, starts: np.ndarray, offsets: np.ndarray,
                 batch_size: int | None, generator: np.random.RandomState | None):
        super().__init__()
        self._data, self._targets, self._starts, self._offsets = data, targets, starts, offsets
        self._batch_size, self._generator = batch_size, generator
        self._batches: int | None = None

    def __len__(self) -> int:
        whole = -(-len(self._starts) // (self._batch_size or 1))
        return whole if self._batches is None else min(whole, self._batches)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"expected the number of a batch below {len(self)}, got {index}")
        size = self._batch_size or 1
        starts = self._starts[index * size:(index + 1) * size]
        x = self._data[starts[:, None] + self._offsets]
        y = None if self._targets is None else self._targets[starts]
        if self._batch_size is None:
            x, y = x[0], None if y is None else y[0]
        return x if y is None else (x, y)

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[index]
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Shuffle again, if the windows are shuffled."""
        if self._generator is not None:
            self._generator.shuffle(self._starts)

    def take(self, count: int) -> TimeseriesDataset:
        """The first `count` batches; all batches if `count` is -1."""
        taken = TimeseriesDataset(self._data, self._targets, self._starts.copy(), self._offsets, self._batch_size, None)
        taken._batches = None if count < 0 else count
        return taken

    def prefetch(self, buffer_size: int) -> TimeseriesDataset:
        """Return the data set itself: its batches are made when they are asked for."""
        return self

    def cache(self) -> TimeseriesDataset:
        """Return the data set itself: its series is in memory already."""
        return self


def timeseries_dataset_from_array(data: Any, targets: Any, sequence_length: int, sequence_stride: int = 1,
                                  sampling_rate: int = 1, batch_size: int | None = 128, shuffle: bool = False,
                                  seed: int | None = None, start_index: int | None = None,
                                  end_index: int | None = None) -> TimeseriesDataset:
    """Windows of `sequence_length` entries, `sampling_rate` apart; a window begins every `sequence_stride` entries.

    Args:
        data: an array whose first axis is time.
        targets: targets[i] belongs to the window that begins at data[i]; None: there are no targets.
        batch_size: None gives single windows, without an axis of batches.
        start_index, end_index: the part of data and targets that is used.

    Raises:
        ValueError: an argument leaves no window, or lies outside the data.

    >>> batches = timeseries_dataset_from_array(np.arange(6), np.arange(6) * 10, 3, batch_size=2)
    >>> [(x.tolist(), y.tolist()) for x, y in batches]
    [([[0, 1, 2], [1, 2, 3]], [0, 10]), ([[2, 3, 4], [3, 4, 5]], [20, 30])]
    """
    data = np.asarray(data)
    n = len(data)
    start, end = start_index or 0, n if end_index is None else end_index
    rules = [("start_index", 0 <= start < n, f"0 <= start_index < {n}", start_index),
             ("end_index", start < end <= n, f"start_index < end_index <= {n}", end_index)]
    rules += [(name, 0 < value < n, f"0 < {name} < {n}", value) for name, value in (
        ("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride))]
    rules += [(name, value is None or value > 0, f"{name} > 0", value) for name, value in (
        ("sequence_length", sequence_length), ("batch_size", batch_size))]
    for name, holds, rule, value in rules:
        if not holds:
            raise ValueError(f"timeseries_dataset_from_array: expected {rule}, got {name}={value} for {n} entries")
    count = end - start - (sequence_length - 1) * sampling_rate
    if targets is not None:
        targets = np.asarray(targets)[start:end]
        count = min(count, len(targets))
    starts = np.arange(0, max(count, 0), sequence_stride)
    generator = np.random.RandomState(seed) if shuffle else None
    if generator is not None:
        generator.shuffle(starts)
    return TimeseriesDataset(data[start:end], targets, starts, np.arange(sequence_length) * sampling_rate, batch_size,
                             generator)
