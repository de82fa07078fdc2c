"""Generators of random numbers, whose state is a tensor, and the one that is used where none is named.

Numbers are counted, not iterated: block i of four words is a function of the state and of i alone (convgpu/philox.py).
All results follow from words by integers, or by arithmetic that rounds each result, and have the same bits on every
backend and device.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from .ops import random as ops  # before autograd, which is in a cycle with tensors and ops

# isort: split
from . import autograd
from .arguments import number, shape_of
from .capturing import region
from .convert import read_only
from .device import CPU, GPU, device_of, move, parse_device, run_there, to_numpy
from .dtypes import DTypeLike, as_dtype, is_float
from .geometry import positive
from .op import Op
from .recorder import Outline
from .rewinding import generator_in_use
from .tensor import Tensor, wrap

Shape = int | tuple[int, ...] | list[int]


class Generator:
    """A source of random numbers whose state is a tensor that is read, set, saved, moved and split.

    Args:
        seed: an integer from 0 to 2^64 - 1.
        stream: the number of the sequence, from 0 to 2^64 - 1; sequences of one seed have nothing in common.
        device: where the state lies, and where numbers are drawn: "cpu" or "gpu".

    A draw of n numbers takes the next ceil(n / 4) blocks of four words of 32 bits, of float64 and of integers
    ceil(n / 2), so that the numbers do not depend on threads or on how work is cut. `randn`, `uniform`, `dropout` and
    the initialisers take it as `generator`. A state on the CPU goes to the GPU with the first draw there, by a copy of
    24 bytes; back it goes by `to("cpu")` alone, because that waits for the GPU. A draw itself asks nothing of the host.

    Raises:
        TypeError: a seed that is no integer. ValueError: one out of range.

    >>> g = Generator(7)
    >>> before = g.state
    >>> before
    Tensor([7, 0, 0], dtype=uint64)
    >>> x = g.uniform(3)
    >>> g.state = before
    >>> bool((g.uniform(3) == x).all())
    True
    """

    def __init__(self, seed: int, stream: int = 0, *, device: str = CPU):
        for name, value in (("seed", seed), ("stream", stream)):
            _check_seed("Generator", name, value)
        self._lock = threading.Lock()
        self._array: Any = move(read_only(np.array([seed, stream, 0], np.uint64)), parse_device(device))

    @classmethod
    def from_state(cls, state: Any) -> Generator:
        """A generator that goes on from a state, on the state's device.

        >>> g = Generator(7)
        >>> twin = Generator.from_state(g.state)
        >>> bool((twin.normal(2) == g.normal(2)).all())
        True
        """
        generator = cls(0)
        generator.state = state
        return generator

    def __reduce__(self) -> tuple[Any, ...]:
        return Generator.from_state, (self.state,)

    # --- the state

    @property
    def state(self) -> Tensor:
        """The seed, the stream, and how many blocks have been drawn, as a tensor of three elements of uint64.

        It can be set, also to three integers, to draw the same numbers again. Reading it does not wait for a GPU.
        """
        return wrap(self._array)

    @state.setter
    def state(self, state: Any) -> None:
        array = state.array if isinstance(state, Tensor) else state
        if hasattr(array, "dtype"):
            fits = array.dtype == np.uint64 and array.shape == (3,)
        else:
            array = tuple(array)
            fits = len(array) == 3 and all([isinstance(n, (int, np.integer)) and 0 <= n < 1 << 64 for n in array])
        if not fits:
            raise ValueError(f"Generator: expected a state of three integers in [0, 2^64), got {state!r:.60}")
        autograd.note(self, "_array")
        if isinstance(state, Tensor):
            self._array = array
        else:
            self._array = read_only(np.array(to_numpy(array) if hasattr(array, "dtype") else array, np.uint64))

    def state_dict(self) -> dict[str, Tensor]:
        """The state by name, for `load_state_dict`."""
        return {"state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the state that `state_dict` has returned; the generator is then on the state's device."""
        self.state = state["state"]

    @property
    def device(self) -> str:
        """Where the state lies: "cpu" or "gpu"."""
        return device_of(self._array)

    def to(self, device: str) -> Generator:
        """Move the state to "cpu", which waits for the GPU, or to "gpu"; returns the generator itself."""
        target = parse_device(device)
        with self._lock:
            if target != self.device:
                autograd.note(self, "_array")
                self._array = move(self._array, target)
        return self

    def advance(self, blocks: int) -> None:
        """Move on by `blocks` blocks of four words, as a draw of 4 * blocks numbers of float32 does.

        Raises:
            TypeError: blocks is no integer. ValueError: it is negative.

        >>> g = Generator(7)
        >>> g.advance(2)
        >>> g.state
        Tensor([7, 0, 2], dtype=uint64)
        """
        blocks = positive("Generator.advance", "blocks", blocks, least=0)
        with self._lock:
            array = run_there("Generator.advance", self._array, self._array.copy)
            array[2:] += np.uint64(blocks % (1 << 64))
            autograd.note(self, "_array")
            self._array = read_only(array)

    def spawn(self, n: int) -> list[Generator]:
        """n generators whose numbers have nothing in common with each other's or with this one's.

        Their seeds and streams are drawn from this generator, which advances by n blocks. They are on its device.

        >>> a, b = Generator(0).spawn(2)
        >>> bool((a.state == b.state).all())
        False
        """
        drawn = self.integers((n, 2), -(1 << 63), 1 << 63).array.view(np.uint64)
        states = run_there("Generator.spawn", drawn,
                           lambda: np.concatenate([drawn, drawn[:, :1] * np.uint64(0)], axis=1))
        return [Generator.from_state(wrap(states[i])) for i in range(n)]

    def __repr__(self) -> str:
        region.refuse("printing a generator")
        seed, stream, counter = to_numpy(self._array).tolist()
        device = "" if self.device == CPU else f", device={self.device!r}"
        return f"Generator(seed={seed}, stream={stream}, counter={counter}{device})"

    # --- draws

    def draw(self, op: Op, inputs: tuple[Tensor, ...], *statics: Any, device: str | None = None) -> Tensor:
        """The first result of an op that takes a state behind its inputs, and whose second result is the next state.

        Args:
            device: where to draw; by default where the inputs are or, without any, where the state is.
        """
        device = device or (inputs[0].device if inputs else self.device)
        recorded = any([isinstance(x.array, Outline) for x in inputs])
        with self._lock:
            if device != self.device and not recorded:
                if device == CPU:
                    raise TypeError(f"{op.name}: expected a generator on the CPU, where the tensor is, got one on the "
                                    "GPU; generator.to('cpu') moves it, and waits for the GPU")
                autograd.note(self, "_array")
                self._array = move(self._array, device)
            y, following = op(*inputs, wrap(self._array), *statics)
            if not isinstance(following.array, Outline) or isinstance(self._array, Outline):
                autograd.note(self, "_array")
                self._array = following.array
        return y

    def uniform(self, shape: Shape = (), low: float = 0.0, high: float = 1.0, *,
                dtype: DTypeLike = "float32") -> Tensor:
        """Uniformly distributed numbers: low + u * (high - low), where u is in [0, 1).

        u is a multiple of 2^-24, in float64 of 2^-53; `high` is only reached by rounding. Half types are computed in
        float32 and rounded once.

        Raises:
            TypeError: a dtype that is not floating. ValueError: bounds that are not finite, or high below low.

        >>> Generator(7).uniform(3, 5.0, 6.0)
        Tensor([5.9546, 5.7502, 5.1142], dtype=float32)
        """
        return self.draw(ops.uniform, (), *uniform_arguments("Generator.uniform", shape, low, high, dtype))

    def normal(self, shape: Shape = (), mean: float = 0.0, std: float = 1.0, *, dtype: DTypeLike = "float32") -> Tensor:
        """Normally distributed numbers, by the transform of Box and Muller (1958): z * std + mean.

        |z| is at most 6.76, in float64 8.65. Half types are computed in float32 and rounded once.

        Raises:
            TypeError: a dtype that is not floating. ValueError: a mean that is not finite, or a negative std.

        >>> Generator(7).normal((2, 2))
        Tensor([[-0.2154, -0.2158],
                [ 2.0199, -0.5097]], dtype=float32)
        """
        return self.draw(ops.normal, (), *normal_arguments("Generator.normal", shape, mean, std, dtype))

    def integers(self, shape: Shape, low: int, high: int, *, dtype: DTypeLike = "int64") -> Tensor:
        """Integers from low to high - 1: low plus the upper half of the product of 64 random bits and high - low.

        Their probabilities differ by at most 2^-64. The dtype is int32 or int64, which the numbers must fit.

        Raises:
            TypeError: another dtype, or bounds that are no integers. ValueError: no integer is in [low, high).

        >>> Generator(7).integers(5, 0, 10)
        Tensor([7, 0, 7, 9, 0], dtype=int64)
        """
        wanted = as_dtype(dtype)
        if wanted not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise TypeError(f"Generator.integers: expected dtype int32 or int64, got {wanted}")
        for name, value in (("low", low), ("high", high)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise TypeError(f"Generator.integers: expected {name} to be an integer, got {value!r:.40}")
        limits = np.iinfo(wanted)
        if not limits.min <= low < high <= limits.max + 1:
            raise ValueError(f"Generator.integers: expected {limits.min} <= low < high <= {limits.max + 1} for "
                             f"{wanted}, got low={low}, high={high}")
        return self.draw(ops.integers, (), shape_of("shape", shape), int(low), int(high), wanted.name)

    def bernoulli(self, shape: Shape, p: float) -> Tensor:
        """Booleans that are true with probability p: a uniform number is less than p.

        >>> Generator(7).bernoulli(6, 0.5)
        Tensor([False, False,  True,  True,  True, False], dtype=bool)
        """
        if not 0 <= p <= 1:
            raise ValueError(f"Generator.bernoulli: expected p in [0, 1], got {p}")
        return self.uniform(shape) < p

    def permutation(self, n: int) -> Tensor:
        """The integers 0 to n - 1 in random order: the order of n random keys of 64 bits.

        >>> Generator(7).permutation(5)
        Tensor([4, 1, 0, 2, 3], dtype=int64)
        """
        keys = self.integers(positive("Generator.permutation", "n", n, least=0), -(1 << 63), 1 << 63).array
        return wrap(run_there("permutation", keys, lambda: np.argsort(keys, kind="stable")))


def uniform_arguments(op: str, shape: Shape, low: float, high: float, dtype: DTypeLike) -> tuple[Any, ...]:
    """The static arguments of the op `uniform`, checked."""
    low, high = number(op, "low", low), number(op, "high", high)
    if not (math.isfinite(high - low) and low <= high):
        raise ValueError(f"{op}: expected finite bounds, low <= high, got low={low}, high={high}")
    return shape_of("shape", shape), float(low), float(high), _float_name(op, dtype)


def normal_arguments(op: str, shape: Shape, mean: float, std: float, dtype: DTypeLike) -> tuple[Any, ...]:
    """The static arguments of the op `normal`, checked."""
    mean, std = number(op, "mean", mean), number(op, "std", std)
    if not (math.isfinite(mean) and 0 <= std < math.inf):
        raise ValueError(f"{op}: expected a finite mean and a finite std of at least 0, got mean={mean}, std={std}")
    return shape_of("shape", shape), float(mean), float(std), _float_name(op, dtype)


def _float_name(op: str, dtype: DTypeLike) -> str:
    wanted = as_dtype(dtype)
    if not is_float(wanted):
        raise TypeError(f"{op}: expected dtype float16, bfloat16, float32 or float64, got {wanted}")
    return wanted.name


def _check_seed(op: str, name: str, value: Any) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r:.40}")
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{op}: expected {name} in [0, 2^64), got {value}")


# --- the generator that is used where none is named


class _Default(threading.local):
    seeding = -1  # which call of `seed` the generators belong to
    thread = 0  # the number of this thread since then
    generators: dict[str, Generator] = {}


class _Seed:
    """What `seed` has set for the whole process. At first it is as if the main thread had called seed(0)."""

    value = 0
    seeding = 0  # how often `seed` has been called
    threads = 1  # how many threads have, or are to have, generators since then


_default, _lock = _Default(), threading.Lock()


def seed(n: int) -> None:
    """Seed the generators that are used where `generator=` is left out; without a call, the seed is 0.

    Each thread has generators of its own, one for the CPU and one for the GPU, so that no thread changes the numbers
    of another one. Those of the thread that calls `seed` have the streams 0 (CPU) and 1 (GPU) of the seed n; those of
    every other thread follow with two further streams, in the order in which threads first draw after the call.

    Raises:
        TypeError: n is no integer. ValueError: it is not in [0, 2^64).

    >>> import convgpu as cg
    >>> cg.seed(3)
    >>> x = cg.randn(2)
    >>> cg.seed(3)
    >>> bool((cg.randn(2) == x).all())
    True
    """
    _check_seed("seed", "n", n)
    with _lock:
        _Seed.value, _Seed.seeding, _Seed.threads = int(n), _Seed.seeding + 1, 1
        _default.seeding, _default.thread, _default.generators = _Seed.seeding, 0, {}


def default_generator(device: str = CPU) -> Generator:
    """The generator of this thread that is used on a device where `generator=` is left out; to save its state, say.

    >>> import convgpu as cg
    >>> cg.seed(3)
    >>> cg.default_generator()
    Generator(seed=3, stream=0, counter=0)
    """
    device = parse_device(device)
    if _default.seeding != _Seed.seeding:
        with _lock:
            first = _Seed.seeding == 0 and threading.current_thread() is threading.main_thread()
            _default.seeding, _default.generators = _Seed.seeding, {}
            _default.thread = 0 if first else _Seed.threads
            _Seed.threads += not first
    known = _default.generators
    if device not in known:  # its state goes to the GPU with the first draw
        known[device] = Generator(_Seed.value, stream=2 * _default.thread + (device == GPU))
    return known[device]


def as_generator(op: str, generator: Any, device: str = CPU) -> np.random.Generator | Generator:
    """The generator itself, a new one for an integer, or for None this thread's default for the device."""
    if isinstance(generator, Generator):
        return generator
    if isinstance(generator, np.random.Generator):
        region.refuse(f"{op} by a generator of NumPy's, which draws on the host,", "draw by a convgpu.Generator")
        autograd.note(generator.bit_generator, "state")
        return generator_in_use(generator)
    if isinstance(generator, (int, np.integer)) and not isinstance(generator, bool):
        return Generator(int(generator))
    if generator is None:
        return default_generator(device)
    raise TypeError(f"{op}: expected generator=, a Generator, a numpy.random.Generator, an integer seed, or None for "
                    f"that of convgpu.seed, got {generator!r:.40}")
