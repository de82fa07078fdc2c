"""All ops. One file per family."""

from .activation import elu, gelu, hard_sigmoid, hard_tanh, leaky_relu, relu, selu, sigmoid, silu, softplus
from .conv import conv, conv_transpose, depthwise_conv, separable_conv
from .elementwise import (
    abs,
    add,
    astype,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    clip,
    divide,
    equal,
    exp,
    floor_divide,
    greater,
    greater_equal,
    invert,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    remainder,
    sqrt,
    subtract,
    tanh,
    to_device,
    where,
)
from .gemm import gemm, linear, matmul
from .indexing import At, getitem, take
from .joining import concatenate, pad, stack
from .loss import binary_cross_entropy, cross_entropy, embedding, huber_loss, mse_loss, one_hot
from .norm import batch_norm, group_norm, layer_norm, local_response_norm
from .random import dropout
from .reduce import all, any, argmax, argmin, cumsum, max, mean, min, prod, std, sum, var
from .shape import broadcast_to, flip, reshape, squeeze, swapaxes, transpose
from .softmax import log_softmax, logsumexp, softmax
