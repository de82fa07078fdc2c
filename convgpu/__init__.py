"""convgpu: a tensor engine for convolutional networks."""

from . import numpy, optim
from .autograd import grad, is_grad_enabled, no_grad, value_and_grad
from .check import check_grad
from .backends import current_backend, use_backend
from .interop import from_dlpack
from .op import Op
from .creation import (
    arange,
    eye,
    full,
    full_like,
    glorot_uniform,
    he_normal,
    ones,
    ones_like,
    randn,
    uniform,
    zeros,
    zeros_like,
)
from .ops import (
    batch_norm,
    binary_cross_entropy,
    conv,
    conv_transpose,
    cross_entropy,
    depthwise_conv,
    dropout,
    elu,
    embedding,
    exp,
    gelu,
    gemm,
    group_norm,
    hard_sigmoid,
    hard_tanh,
    huber_loss,
    layer_norm,
    leaky_relu,
    linear,
    local_response_norm,
    log,
    log_softmax,
    logsumexp,
    matmul,
    mse_loss,
    one_hot,
    relu,
    selu,
    separable_conv,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .tensor import Tensor, tensor

__version__ = "0.1.0"
