"""All ops. One file per family."""

from .activation import elu, gelu, hard_sigmoid, hard_tanh, leaky_relu, relu, selu, sigmoid, silu, softplus
from .conv import (
    conv,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    depthwise_conv,
    depthwise_conv1d,
    depthwise_conv2d,
    depthwise_conv3d,
    separable_conv,
    separable_conv1d,
    separable_conv2d,
    separable_conv3d,
)
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
from .pool import (
    adaptive_avg_pool,
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_avg_pool1d,
    global_avg_pool2d,
    global_avg_pool3d,
    global_max_pool,
    global_max_pool1d,
    global_max_pool2d,
    global_max_pool3d,
    max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from .products import cumsum, prod
from .random import dropout
from .reduce import all, any, argmax, argmin, max, mean, min, std, sum, var
from .shape import broadcast_to, flip, reshape, squeeze, swapaxes, transpose
from .softmax import log_softmax, logsumexp, softmax
