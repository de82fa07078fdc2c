"""Optimizers, schedules of learning rates, averages of parameters, and norms of gradients."""

from .averages import EMA, accumulate, clip_by_norm, clip_by_value, global_norm
from .optimizers import SGD, Adam, AdamW, LossScale, Optimizer
from .schedules import cosine, one_cycle, step_decay, warmup

__all__ = ["Adam", "AdamW", "EMA", "LossScale", "Optimizer", "SGD", "accumulate", "clip_by_norm", "clip_by_value",
           "cosine", "global_norm", "one_cycle", "step_decay", "warmup"]
