"""The default backend for the CPU, written with NumPy; users without a GPU compute with it."""

from __future__ import annotations

from .conv import channel_sum, conv_dgrad, conv_fprop, conv_norm, conv_wgrad
from .elementwise import activate, activate_dgrad, add_n, binary
from .gemm import gemm, matmul
from .layout import hwio_to_oihw, nchw_to_nhwc, nhwc_to_nchw, oihw_to_hwio
from .norm import norm_apply, norm_apply_add, norm_dgrad, norm_fold, norm_infer, norm_stats
from .optim import adam_step, cast_all, global_norm, sgd_step
from .pool import (
    avg_pool,
    avg_pool_dgrad,
    lp_pool,
    lp_pool_dgrad,
    lp_pool_gather,
    max_pool,
    max_pool_dgrad,
    max_pool_gather,
    max_pool_indices,
)
from .random import dropout, integers, normal, uniform
from .reduce import reduce
from .softmax import cross_entropy, cross_entropy_dgrad, softmax, softmax_dgrad

__all__ = [
    "activate", "activate_dgrad", "add_n", "binary",
    "avg_pool", "avg_pool_dgrad", "channel_sum", "conv_dgrad", "conv_fprop", "conv_norm", "conv_wgrad", "gemm",
    "hwio_to_oihw",
    "lp_pool", "lp_pool_dgrad", "lp_pool_gather", "matmul", "max_pool", "max_pool_dgrad", "max_pool_gather",
    "max_pool_indices", "nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "reduce",
    "norm_apply", "norm_apply_add", "norm_dgrad", "norm_infer", "norm_stats",
    "cross_entropy", "cross_entropy_dgrad", "softmax", "softmax_dgrad",
    "adam_step", "cast_all", "global_norm", "sgd_step",
    "dropout", "integers", "normal", "uniform",
]
