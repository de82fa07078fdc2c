"""Random numbers by counting: Philox4x32-10, of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).

The state is a key, which the seed gives, a stream, and a counter. Block i of four 32-bit words is a function of these
and of i alone, so the words are the same whatever computes them, and in whatever order. Words are integers, and
uniform numbers and masks follow from them without rounding: they have the same bits everywhere. Normal numbers take a
logarithm and a cosine, which may differ in the last bit between machines.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from . import autograd
from .geometry import positive

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # what is added to the key after each round
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
ROUNDS = 10
BLOCKS = 16384  # what is computed at once: enough that calls of NumPy cost little, and few enough for a cache

State = tuple[int, int, int]  # the seed, the stream, and how many blocks have been drawn


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """The words of blocks: (blocks, 4) words of 32 bits from counters of the same shape and a key of two words.

    >>> [hex(word) for word in philox(np.zeros((1, 4), np.uint32), (0, 0))[0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    return np.stack(_rounds([counters[:, i].astype(np.uint64) for i in range(4)], key), axis=1).astype(np.uint32)


def _rounds(c: list[np.ndarray], key: tuple[int, int]) -> list[np.ndarray]:
    """The four words of each block, in 64 bits, from the four words of its counter, whose memory they take."""
    k = list(key)
    first, second = np.empty_like(c[0]), np.empty_like(c[0])
    for _ in range(ROUNDS):
        np.multiply(c[0], np.uint64(_MULTIPLIERS[0]), out=first)
        np.multiply(c[2], np.uint64(_MULTIPLIERS[1]), out=second)
        for upper, other, word in ((second, c[1], 0), (first, c[3], 1)):
            np.right_shift(upper, _SHIFT, out=c[2 * word])
            np.bitwise_xor(c[2 * word], other, out=c[2 * word])
            np.bitwise_xor(c[2 * word], np.uint64(k[word]), out=c[2 * word])
            np.bitwise_and(upper, _LOW, out=other)
        k = [(word + step) & 0xFFFFFFFF for word, step in zip(k, _WEYL)]
    return c


def columns(state: State, first: int, blocks: int) -> list[np.ndarray]:
    """Words 0 to 3 of blocks first, first + 1, ... behind the state, each an array of 64-bit integers.

    A caller that wants many blocks asks for BLOCKS at a time, whose intermediate results stay in a processor's cache.
    """
    seed, stream, counter = state
    index = np.uint64((counter + first) % (1 << 64)) + np.arange(blocks, dtype=np.uint64)
    constant = [np.full(blocks, word, np.uint64) for word in (stream & 0xFFFFFFFF, stream >> 32)]
    return _rounds([index & _LOW, index >> _SHIFT, *constant], (seed & 0xFFFFFFFF, seed >> 32))


def threshold(rate: float) -> int:
    """The least upper 24 bits of a word that keep an element which is dropped with probability `rate`."""
    return math.ceil(rate * 2**24)


class Generator:
    """A source of random numbers whose state can be read, set, and split.

    Args:
        seed: an integer from 0 to 2^64 - 1.
        stream: the number of the sequence, from 0 to 2^64 - 1; sequences of one seed have nothing in common.

    A draw of n elements takes the next ceil(n / 4) blocks of four words (n / 2 for float64), so that the numbers do not
    depend on threads or on how work is cut. `randn`, `uniform`, `dropout` and the initialisers take it as `generator`.

    Raises:
        TypeError: a seed that is no integer. ValueError: one out of range.

    >>> g = Generator(7)
    >>> before = g.state
    >>> x = g.random(3)
    >>> g.state = before
    >>> bool((g.random(3) == x).all())
    True
    """

    def __init__(self, seed: int, stream: int = 0):
        for name, value in (("seed", seed), ("stream", stream)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise TypeError(f"Generator: expected {name} to be an integer, got {value!r:.40}")
            if not 0 <= value < 1 << 64:
                raise ValueError(f"Generator: expected {name} in [0, 2^64), got {value}")
        self._lock = threading.Lock()
        self._state = (int(seed), int(stream), 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Generator, self._state[:2], self._state  # the lock is not copied

    def __setstate__(self, state: tuple[int, int, int]) -> None:
        self.state = state

    @property
    def state(self) -> State:
        """The seed, the stream, and how many blocks have been drawn. It can be set, to draw the same numbers again."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if len(state) != 3 or not all(isinstance(n, (int, np.integer)) and 0 <= n < 1 << 64 for n in state):
            raise ValueError(f"Generator: expected a state of three integers in [0, 2^64), got {state!r:.60}")
        autograd.note(self, "_state")
        self._state = tuple(map(int, state))  # type: ignore[assignment]

    def state_dict(self) -> dict[str, int]:
        """The state by name, for `load_state_dict`."""
        return dict(zip(("seed", "stream", "counter"), self._state))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Set the state that `state_dict` has returned."""
        self.state = (state["seed"], state["stream"], state["counter"])

    def spawn(self, n: int) -> list[Generator]:
        """n generators whose numbers have nothing in common with each other's or with this one's.

        Their seeds are drawn from this generator, which advances by n blocks.

        >>> a, b = Generator(0).spawn(2)
        >>> a.state != b.state
        True
        """
        words = self._words(4 * n).reshape(n, 4).astype(np.uint64)
        return [Generator(int(w[0] | w[1] << _SHIFT), int(w[2] | w[3] << _SHIFT)) for w in words]

    def advance(self, blocks: int) -> State:
        """Move on by `blocks` blocks of four words, and return the state before, from which they follow.

        Raises:
            TypeError: blocks is no integer. ValueError: it is negative.

        >>> g = Generator(7)
        >>> g.advance(2), g.state
        ((7, 0, 0), (7, 0, 2))
        """
        blocks = positive("Generator.advance", "blocks", blocks, least=0)
        autograd.note(self, "_state")
        with self._lock:
            before = self._state
            self._state = (*before[:2], (before[2] + blocks) % (1 << 64))
        return before

    def random(self, size: Any = (), dtype: Any = np.float64) -> np.ndarray:
        """Uniform numbers in [0, 1): multiples of 2^-24 in float32, of 2^-53 in float64."""
        shape, count = _shape(size)
        if np.dtype(dtype) == np.float32:
            return ((self._words(count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)
        return ((self._long_words(count) >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def standard_normal(self, size: Any = (), dtype: Any = np.float64) -> np.ndarray:
        """Normal numbers of mean 0 and variance 1, by the transform of Box and Muller (1958)."""
        shape, count = _shape(size)
        pairs = -(-count // 2)
        dtype = np.dtype(dtype)
        if dtype == np.float32:
            words = (self._words(2 * pairs) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
            smallest: Any = np.float32(2.0**-24)
        else:
            words, smallest = (self._long_words(2 * pairs) >> np.uint64(11)) * 2.0**-53, 2.0**-53
        u, v = words[0::2], words[1::2]
        radius = np.sqrt(-2 * np.log(u + smallest))  # u + smallest is in (0, 1]
        angle = v * dtype.type(2 * math.pi)
        values = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return values.reshape(-1)[:count].reshape(shape).astype(dtype, copy=False)

    def keeps(self, size: Any, rate: float) -> np.ndarray:
        """Booleans that are false with probability `rate`: whether a word of 24 bits is at least rate * 2^24."""
        shape, count = _shape(size)
        return ((self._words(count) >> np.uint32(8)) >= np.uint32(threshold(rate))).reshape(shape)

    def _long_words(self, count: int) -> np.ndarray:
        words = self._words(2 * count).astype(np.uint64)
        return words[0::2] | words[1::2] << _SHIFT

    def _words(self, count: int) -> np.ndarray:
        """The next words; the state advances by whole blocks."""
        blocks = -(-count // 4)
        state, words = self.advance(blocks), np.empty((blocks, 4), np.uint32)
        for first in range(0, blocks, BLOCKS):
            part = words[first:first + BLOCKS]
            for i, column in enumerate(columns(state, first, len(part))):
                part[:, i] = column
        return words.reshape(-1)[:count]

    def __repr__(self) -> str:
        return f"Generator(seed={self._state[0]}, stream={self._state[1]}, counter={self._state[2]})"


def _shape(size: Any) -> tuple[tuple[int, ...], int]:
    shape = (int(size),) if isinstance(size, (int, np.integer)) else tuple(map(int, size))
    return shape, math.prod(shape)
