"""PyTorch as a peer that computes the same problems: single ops, and networks equal to ours."""

from __future__ import annotations

from .ops import AGREEMENT, AGREEMENT_OF_HALVES, LAYOUTS, PREFIX, Torch

__all__ = ["AGREEMENT", "AGREEMENT_OF_HALVES", "LAYOUTS", "PREFIX", "Torch"]
