"""Learning rates as functions of the step: what an optimizer takes as `lr` in place of a number.

    optimizer = convgpu.optim.SGD(lr=convgpu.optim.cosine(0.1, steps=10_000, warmup=500), momentum=0.9)

A schedule is a value: it gives the rate of step 0, 1, 2, ... and remembers nothing. Any function of the step will do:
`lr=lambda step: 0.1 / (1 + step)`. The optimizer counts the steps, and `state_dict` contains the count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Cosine:
    """The schedule of `cosine`."""

    lr: float
    steps: int
    final: float = 0.0

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        share = min(step / self.steps, 1.0)
        return self.final + (self.lr - self.final) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Steps:
    """The schedule of `step_decay`."""

    lr: float
    at: tuple[int, ...] | int
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        passed = step // self.at if isinstance(self.at, int) else sum(step >= a for a in self.at)
        return self.lr * self.factor**passed


@dataclass(frozen=True)
class Warmup:
    """The schedule of `warmup`."""

    after: Schedule | float
    steps: int
    start: float = 0.0

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        if step >= self.steps:
            return _at(self.after, step - self.steps)
        return self.start + (_at(self.after, 0) - self.start) * step / self.steps


@dataclass(frozen=True)
class OneCycle:
    """The schedule of `one_cycle`."""

    lr: float
    steps: int
    warm: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        top = self.warm * self.steps - 1
        low, high = self.start * self.lr, self.lr
        if step > top:
            span = self.steps - 1 - top
            low, high, share = self.lr, self.final * self.lr, min((step - top) / span, 1.0) if span > 0 else 1.0
        else:
            share = step / top
        return high + (low - high) * 0.5 * (1 + math.cos(math.pi * share))


def cosine(lr: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Half a period of a cosine from `lr` at the first step to `final` after the last.

    rate(s) = final + (lr - final) * (1 + cos(pi * s / n)) / 2,  n = steps - warmup, s counted from the warm-up's end

    Args:
        lr: the largest rate.
        steps: the number of steps in all; later ones have the rate `final`.
        warmup: so many of them, at the beginning, rise evenly from 0.
        final: the rate at the end.

    From Loshchilov and Hutter, "SGDR" (2017), without restarts; the values are those of PyTorch's CosineAnnealingLR.

    >>> [round(cosine(0.1, 4)(step), 4) for step in range(6)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0, 0.0]
    """
    _check("cosine", lr=lr, final=final)
    _check_count("cosine", "steps", steps, 1)
    _check_count("cosine", "warmup", warmup, 0)
    if warmup >= steps:
        raise ValueError(f"cosine: expected fewer steps of warm-up than the {steps} in all, got {warmup}")
    schedule = Cosine(float(lr), steps - warmup, float(final))
    return Warmup(schedule, warmup) if warmup else schedule


def step_decay(lr: float, at: int | Sequence[int], factor: float = 0.1) -> Schedule:
    """A rate that is multiplied by `factor` at certain steps.

    Args:
        lr: the first rate.
        at: the steps at which it changes; a number n stands for n, 2 n, 3 n, ...
        factor: what it is multiplied by, from 0 on.

    The values are those of PyTorch's StepLR and MultiStepLR.

    >>> [step_decay(1.0, 2, 0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _check("step_decay", lr=lr, factor=factor)
    if isinstance(at, int):
        _check_count("step_decay", "at", at, 1)
        return Steps(float(lr), at, float(factor))
    for a in at:
        _check_count("step_decay", "at", a, 0)
    return Steps(float(lr), tuple(at), float(factor))


def warmup(after: Schedule | float, steps: int, *, start: float = 0.0) -> Schedule:
    """A rate that rises evenly from `start` to the first rate of a schedule, which follows from its step 0 on.

    Args:
        after: a schedule, or a number: a constant rate.
        steps: the number of steps of the rise.
        start: the rate of step 0.

    >>> [warmup(0.1, 4, start=0.02)(step) for step in (0, 2, 4, 100)]
    [0.02, 0.06, 0.1, 0.1]
    """
    if not callable(after):
        _check("warmup", after=after)
    _check("warmup", start=start)
    _check_count("warmup", "steps", steps, 1)
    return Warmup(after if callable(after) else float(after), steps, float(start))


def one_cycle(lr: float, steps: int, *, warm: float = 0.3, start: float = 0.04, final: float = 4e-6) -> Schedule:
    """Up and down once: a cosine from `start * lr` to `lr` in the first part of the steps, then one to `final * lr`.

    Args:
        lr: the largest rate.
        steps: the number of steps in all.
        warm: the part of the steps that rise, between 0 and 1.
        start, final: the first and the last rate, as parts of lr.

    From Smith and Topin, "Super-Convergence" (2018); the values are those of PyTorch's OneCycleLR.

    >>> [round(one_cycle(1.0, 10)(step), 3) for step in (0, 2, 5, 9)]
    [0.04, 1.0, 0.611, 0.0]
    """
    _check("one_cycle", lr=lr, start=start, final=final)
    _check_count("one_cycle", "steps", steps, 1)
    if not 0 < warm < 1 or warm * steps <= 1:
        raise ValueError("one_cycle: expected warm in (0, 1), and more than one step of it, "
                         f"got {warm} of {steps} steps")
    return OneCycle(float(lr), steps, float(warm), float(start), float(final))


def _at(schedule: Schedule | float, step: int) -> float:
    return schedule(step) if callable(schedule) else schedule


def _check(name: str, **rates: float) -> None:
    for option, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)):
            raise TypeError(f"{name}: expected {option} to be a number, got {rate!r:.60}")
        if not 0 <= rate < math.inf:
            raise ValueError(f"{name}: expected {option} from 0 on, got {rate}")


def _check_count(name: str, option: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected {option} to be an integer, got {value!r:.60}")
    if value < least:
        raise ValueError(f"{name}: expected {option} of at least {least}, got {value}")
