"""The CPU path: what users get on a machine without a GPU."""

from __future__ import annotations

from ..reference import conv_dgrad, conv_fprop, conv_wgrad

__all__ = ["conv_dgrad", "conv_fprop", "conv_wgrad"]
