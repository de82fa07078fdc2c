"""convgpu: a tensor engine for convolutional networks."""

from .autograd import grad, is_grad_enabled, no_grad, value_and_grad
from .check import check_grad
from .backends import current_backend, use_backend
from .interop import from_dlpack
from .op import Op
from .ops import conv, conv_transpose, depthwise_conv, exp, log, relu, separable_conv, tanh
from .tensor import Tensor, tensor

__version__ = "0.1.0"
