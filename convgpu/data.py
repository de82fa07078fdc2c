"""Batches for training: from arrays, NumPy memory maps and folders of images, prepared while the step before computes.

    for x, y in convgpu.data.batches(images, labels, batch_size=128, shuffle=True, epochs=10, device="gpu"):
        ...

The order of the examples and what `transform` draws follow from seed, epoch and place in the epoch alone: not from the
number of workers, and not from where an earlier run was stopped.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .convert import read_only
from .device import CPU, GPU, cupy_with_gpu, parse_device
from .extras import require
from .tensor import Tensor, wrap

__all__ = ["Batches", "ImageFolder", "batches", "image_folder", "random_crop", "random_flip"]

Transform = Callable[..., Any]
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Source(Protocol):
    """What examples are taken from: anything with a length that an array of integers can index."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any) -> Any: ...


class _Place(NamedTuple):
    """A batch that is to be prepared: the epoch, its number in the epoch, and the examples in it."""

    epoch: int
    number: int
    indices: np.ndarray


def batches(*sources: Source, batch_size: int, shuffle: bool = False, seed: int = 0, epochs: int | None = 1,
            drop_last: bool = False, transform: Transform | None = None, workers: int = 1,
            device: str = CPU, shard: tuple[int, int] = (0, 1)) -> Batches:
    """An iterator over batches of examples, each a tuple of Tensors with one entry per source.

    Args:
        sources: arrays, memory maps, image folders, or other objects with a length and an index, of one length. With
            one source, a batch is a Tensor.
        batch_size: the number of examples in a batch; the last one of an epoch may be smaller.
        shuffle: take the examples of each epoch in another order.
        seed: an integer from which the orders and the draws of `transform` follow.
        epochs: how many times all examples are taken; None: without end.
        drop_last: leave out a last batch that is smaller.
        transform: `transform(*arrays, rng=rng)` gets NumPy arrays of a batch and a numpy.random.Generator of its own,
            and returns as many arrays.
        workers: how many threads prepare batches ahead; 0: none, a batch is prepared when it is asked for.
        device: where the Tensors shall be. For "gpu", the next batch is copied from pinned memory while the step
            computes.
        shard: (rank, size), from `convgpu.distributed.shard()`: of every batch, the part of this process among `size`
            that take the same batches. The parts of a batch differ by at most one example, and can be empty. Orders
            are the same for any `size`; what `transform` draws is not.

    Raises:
        ValueError: sources of different lengths or without examples, a number out of range. TypeError: a source without
        a length, an option of another type. What `transform` or a source raises comes when its batch is asked for.

    >>> import numpy as np
    >>> for x, y in batches(np.arange(5.0), np.arange(5), batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0.0, 1.0] [0, 1]
    [2.0, 3.0] [2, 3]
    [4.0] [4]
    """
    return Batches(sources, batch_size, shuffle, seed, epochs, drop_last, transform, workers, device, shard)


class Batches(Iterator[Any]):
    """The iterator of `batches`. It can be left at any time, and go on from a place in another process."""

    def __init__(self, sources: Sequence[Source], batch_size: int, shuffle: bool, seed: int, epochs: int | None,
                 drop_last: bool, transform: Transform | None, workers: int, device: str,
                 shard: tuple[int, int] = (0, 1)):
        self._examples = _length(sources)
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("workers", workers, 0),
                                   ("epochs", 1 if epochs is None else epochs, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"batches: expected {name} to be an integer, got {value!r:.60}")
            if value < least:
                raise ValueError(f"batches: expected {name} of at least {least}, got {value}")
        if transform is not None and not callable(transform):
            raise TypeError(f"batches: expected transform to be a function or None, got {transform!r:.60}")
        if drop_last and self._examples < batch_size:
            raise ValueError(f"batches: expected at least batch_size={batch_size} examples with drop_last, got "
                             f"{self._examples}")
        if not (isinstance(shard, tuple) and len(shard) == 2 and all(isinstance(n, int) for n in shard)
                and 0 <= shard[0] < shard[1]):
            raise ValueError(f"batches: expected shard to be (rank, size) with 0 <= rank < size, got {shard!r:.60}")
        self._rank, self._size = shard
        self._seeds = (int(seed), *((self._rank,) if self._size > 1 else ()))
        self._sources, self._transform = tuple(sources), transform
        self._batch_size, self._shuffle, self._seed, self._epochs = int(batch_size), bool(shuffle), int(seed), epochs
        whole, rest = divmod(self._examples, self._batch_size)
        self.steps_per_epoch = whole if drop_last or not rest else whole + 1
        self._workers = int(workers)
        self._uploads = _Uploads() if parse_device(device) == GPU else None
        self._place = 0, 0  # epoch and number of the next batch
        self._begin()

    def _begin(self) -> None:
        self._plan = self._places(*self._place)
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: deque[tuple[_Place, Any]] = deque()  # batches under way, the next one first

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        if not self._ahead:
            self._submit()
        if not self._ahead:
            self.close()
            raise StopIteration
        place, job = self._ahead.popleft()
        try:
            arrays = job() if callable(job) else job.result()
        except BaseException:
            self.close()
            raise
        self._submit()
        following = place.number + 1
        self._place = (place.epoch, following) if following < self.steps_per_epoch else (place.epoch + 1, 0)
        tensors = [wrap(read_only(array)) for array in arrays] if self._uploads is None else self._uploads.take(
            place, arrays, self._ahead)
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def state_dict(self) -> dict[str, int]:
        """The place behind the last batch that was taken, for `convgpu.save`."""
        return {"epoch": self._place[0], "batch": self._place[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from the place that `state_dict` returned, with the same sources and options.

        Raises:
            ValueError: a place that there is not.
        """
        epoch, number = int(state["epoch"]), int(state["batch"])
        if epoch < 0 or not 0 <= number < self.steps_per_epoch or (
                self._epochs is not None and (epoch, number) > (self._epochs, 0)):
            raise ValueError(f"Batches.load_state_dict: expected a place in {self._epochs} epochs of "
                             f"{self.steps_per_epoch} batches, got epoch {epoch}, batch {number}")
        self.close()
        self._place = epoch, number
        self._begin()

    def close(self) -> None:
        """End the threads. Batches that are under way are dropped, and the iterator is at its end."""
        self._plan = iter(())
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        if self._uploads is not None:
            self._uploads.finish()

    def __del__(self) -> None:
        if hasattr(self, "_ahead"):
            self.close()

    def _places(self, epoch: int, number: int) -> Iterator[_Place]:
        while self._epochs is None or epoch < self._epochs:
            order = (np.random.default_rng([self._seed, epoch]).permutation(self._examples) if self._shuffle else
                     np.arange(self._examples))
            for n in range(number, self.steps_per_epoch):
                batch = order[n * self._batch_size:(n + 1) * self._batch_size]
                here = slice(*[len(batch) * rank // self._size for rank in (self._rank, self._rank + 1)])
                yield _Place(epoch, n, batch[here])
            epoch, number = epoch + 1, 0

    def _submit(self) -> None:
        """Put the next batches under way."""
        while len(self._ahead) < max(self._workers + 1, 1):
            place = next(self._plan, None)
            if place is None:
                return
            if self._workers == 0:
                self._ahead.append((place, lambda place=place: self._prepared(place)))
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="convgpu.data")
            self._ahead.append((place, self._pool.submit(_prepared, self._sources, self._transform, self._seeds, place,
                                                         self._uploads is not None)))

    def _prepared(self, place: _Place) -> list[np.ndarray]:
        return _prepared(self._sources, self._transform, self._seeds, place, self._uploads is not None)


def _prepared(sources: Sequence[Source], transform: Transform | None, seeds: Sequence[int], place: _Place,
              pinned: bool) -> list[np.ndarray]:
    """The arrays of a batch, which are nobody else's."""
    arrays = [np.asarray(source[place.indices]) for source in sources]
    if transform is not None:
        made = transform(*arrays, rng=np.random.default_rng([seeds[0], place.epoch, place.number, 1, *seeds[1:]]))
        made = made if isinstance(made, (tuple, list)) else (made,)
        if len(made) != len(arrays):
            raise ValueError(f"batches: expected transform to return {len(arrays)} arrays, got {len(made)}")
        arrays = [_copied_unless_own(np.asarray(array), sources) for array in made]
    else:
        arrays = [_copied_unless_own(array, sources) for array in arrays]
    return [_pinned(array) for array in arrays] if pinned else arrays


def _copied_unless_own(array: np.ndarray, sources: Sequence[Any]) -> np.ndarray:
    """The array, or a copy where it may share memory with a source; in C order and this machine's order of bytes."""
    shared = any(isinstance(source, np.ndarray) and np.may_share_memory(array, source) for source in sources)
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    return np.array(array, native, order="C", copy=True if shared else None)


def _pinned(array: np.ndarray) -> np.ndarray:
    """The array in memory from which a GPU copies by itself."""
    memory = cupy_with_gpu().cuda.alloc_pinned_memory(max(array.nbytes, 1))
    there = np.frombuffer(memory, np.uint8, array.nbytes).view(array.dtype).reshape(array.shape)
    there[...] = array
    return there


class _Uploads:
    """Copies to the GPU in a stream of their own, one batch ahead of the one that is taken.

    Arrays are allocated in the stream that is current when a batch is taken, to whose pool their memory returns. So the
    copy first waits for what that stream has been given, which may still read the memory's former content.
    """

    def __init__(self) -> None:
        self._cupy = cupy_with_gpu()
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._started: tuple[_Place, list[Any], Any] | None = None  # the next batch: its arrays, when they are there
        self._reading: deque[tuple[Any, list[np.ndarray]]] = deque()  # pinned memory that copies may still read

    def take(self, place: _Place, arrays: list[np.ndarray], ahead: deque[tuple[_Place, Any]]) -> list[Tensor]:
        """The batch as Tensors, for the current stream; the copy of the next one begins if it is prepared."""
        started = self._started if self._started is not None and self._started[0] is place else None
        copies, there = self._start(arrays) if started is None else started[1:]
        self._cupy.cuda.get_current_stream().wait_event(there)
        self._started = None
        if ahead and isinstance(job := ahead[0][1], Future) and job.done() and job.exception() is None:
            self._started = ahead[0][0], *self._start(job.result())
        while self._reading and self._reading[0][0].done:
            self._reading.popleft()
        return [wrap(copy) for copy in copies]

    def _start(self, arrays: list[np.ndarray]) -> tuple[list[Any], Any]:
        copies = [self._cupy.empty(array.shape, array.dtype) for array in arrays]
        self._stream.wait_event(self._cupy.cuda.get_current_stream().record())
        for copy, array in zip(copies, arrays):
            copy.set(array, stream=self._stream)
        there = self._stream.record()
        self._reading.append((there, arrays))
        return copies, there

    def finish(self) -> None:
        """Wait for the copies, since their memory is about to be given back."""
        if self._reading:
            self._stream.synchronize()
        self._reading.clear()
        self._started = None


def _length(sources: Sequence[Any]) -> int:
    if not sources:
        raise TypeError("batches: expected at least one source of examples, got none")
    lengths = []
    for source in sources:
        try:
            lengths.append(len(source))
        except TypeError:
            raise TypeError(f"batches: expected arrays or other sources with a length, got {type(source).__name__}"
                            ) from None
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"batches: expected sources of one length, from 1 on, got {lengths}")
    return lengths[0]


class ImageFolder:
    """The source of `image_folder`: pictures that are read when they are asked for."""

    def __init__(self, paths: Sequence[Path], labels: np.ndarray, class_names: Sequence[str], size: tuple[int, int]):
        self.paths, self.labels, self.class_names, self.size = list(paths), labels, list(class_names), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Any) -> np.ndarray:
        """Pictures (N, height, width, 3) of uint8 for an array of N integers."""
        return np.stack([self._read(self.paths[i]) for i in np.atleast_1d(indices)])

    def _read(self, path: Path) -> np.ndarray:
        pillow = require("PIL.Image", "reading pictures")
        try:
            with pillow.open(path) as picture:
                height, width = self.size
                return np.asarray(picture.convert("RGB").resize((width, height), pillow.Resampling.BILINEAR))
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
            raise ValueError(f"{path}: expected a picture that can be read, got {error}") from error


def image_folder(folder: str | os.PathLike[str], size: int | tuple[int, int]) -> ImageFolder:
    """A source of the pictures below a folder, with one subfolder per class, as torchvision's ImageFolder has them.

    Args:
        folder: its subfolders are the classes, in alphabetical order.
        size: height and width to which pictures are scaled; a number stands for both.

    The result has `labels`, an array of integers to be given to `batches` as the second source, and `class_names`.

    Raises:
        FileNotFoundError: no such folder. ValueError: there are no pictures in subfolders. What a damaged picture
        raises comes when it is read, and names the file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: expected a folder, there is none")
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = [(path, label) for label, name in enumerate(names)
             for path in sorted((root / name).rglob("*")) if path.suffix.lower() in IMAGES and path.is_file()]
    if not found:
        raise ValueError(f"{root}: expected a subfolder for each class with pictures ({', '.join(IMAGES)}), got none")
    pair = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, (int, np.integer)) and n >= 1 for n in pair):
        raise ValueError(f"image_folder: expected a size of height and width, got {size!r:.60}")
    return ImageFolder([path for path, _ in found], np.array([label for _, label in found]), names, pair)


def random_flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (N, H, W, C), each turned from left to right with a probability of one half.

    >>> import numpy as np
    >>> random_flip(np.arange(6).reshape(3, 1, 2, 1), np.random.default_rng(0)).reshape(3, 2).tolist()
    [[0, 1], [3, 2], [5, 4]]
    """
    turned = rng.random(len(x)) < 0.5
    return np.where(turned.reshape(-1, *[1] * (x.ndim - 1)), x[:, :, ::-1], x)


def random_crop(x: np.ndarray, rng: np.random.Generator, padding: int) -> np.ndarray:
    """Images (N, H, W, C), each moved by up to `padding` pixels in both directions; what moves in is zero.

    >>> import numpy as np
    >>> random_crop(np.ones((2, 3, 3, 1)), np.random.default_rng(0), 1).sum(axis=(1, 2, 3)).tolist()
    [6.0, 6.0]
    """
    n, height, width = x.shape[:3]
    padded = np.zeros((n, height + 2 * padding, width + 2 * padding, *x.shape[3:]), x.dtype)
    padded[:, padding:padding + height, padding:padding + width] = x
    out = np.empty_like(x)
    for i, (down, right) in enumerate(rng.integers(0, 2 * padding + 1, (n, 2))):
        out[i] = padded[i, down:down + height, right:right + width]
    return out
