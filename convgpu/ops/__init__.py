"""All ops, one file per family. This module imports those that the methods of Tensor call."""

from ..arguments import explain_errors
from .elementwise import (
    abs,
    add,
    astype,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    clip,
    divide,
    divmod,
    equal,
    floor_divide,
    greater,
    greater_equal,
    invert,
    left_shift,
    less,
    less_equal,
    multiply,
    negative,
    not_equal,
    power,
    remainder,
    right_shift,
    round,
    subtract,
    to_device,
)
from .gemm import matmul
from .indexing import At, getitem
from .products import cumsum, prod
from .reduce import all, any, argmax, argmin, max, mean, min, std, sum, var
from .shape import broadcast_to, reshape, squeeze, swapaxes, transpose

explain_errors(globals(), list(globals()))
