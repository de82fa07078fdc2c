"""Random words by counting: Philox4x32-10, of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).

The state is a key, which the seed gives, a stream, and a counter. Block i of four 32-bit words is a function of these
and of i alone, so the words are the same whatever computes them, and in whatever order. csrc/random/philox.h is the
same function for kernels.
"""

from __future__ import annotations

import math

import numpy as np

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


# --- states as arrays


def state_of(array: np.ndarray) -> State:
    """The state in an array: its three numbers of 64 bits, or of two words of 32 bits, as Keras's seeds are, the
    beginning of the sequence whose stream and seed they are, in this order.
    """
    if array.dtype == np.uint32:
        return int(array[1]), int(array[0]), 0
    seed, stream, counter = array.tolist()
    return seed, stream, counter


def after(array: np.ndarray, blocks: int) -> np.ndarray:
    """The state behind so many blocks; of two words, those whose second one is larger by 1."""
    if array.dtype == np.uint32:
        return np.array([array[0], (int(array[1]) + 1) % (1 << 32)], np.uint32)
    seed, stream, counter = array.tolist()
    return np.array([seed, stream, (counter + blocks) % (1 << 64)], np.uint64)


def blocks_of(op: str, size: int, dtype: np.dtype) -> int:
    """How many blocks a draw of `size` elements takes: an integer, or a number of float64, takes two words."""
    wide = op == "integers" or op != "dropout" and dtype == np.float64
    return -(-size // (2 if wide else 4))
