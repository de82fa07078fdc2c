"""The CPU path: what users get on a machine without a GPU."""

from __future__ import annotations

from .conv import conv_dgrad, conv_fprop, conv_wgrad
from .gemm import gemm, matmul

__all__ = ["conv_dgrad", "conv_fprop", "conv_wgrad", "gemm", "matmul"]
