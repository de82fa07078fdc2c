"""Others on the same problems: PyTorch, op by op, and networks in it that are twins of ours."""

from __future__ import annotations

from .ops import AGREEMENT, AGREEMENT_OF_HALVES, LAYOUTS, PREFIX, Torch

__all__ = ["AGREEMENT", "AGREEMENT_OF_HALVES", "LAYOUTS", "PREFIX", "Torch"]
