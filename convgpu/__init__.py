"""convgpu: a tensor engine for convolutional networks."""

# ruff: noqa: I001 - a list of names, with related names together
import importlib
import typing as _typing

from . import keras_loader as _keras_loader
from . import data, distributed, numpy, optim, ptx, tree
from .arguments import explain_errors as _explain_errors
from .autograd import is_grad_enabled, no_grad
from .backends.numpy.workers import get_num_threads, set_num_threads
from .capturing.capture import capture
from .check import check_grad
from .creation import (
    arange, eye, full, full_like, glorot_uniform, he_normal, ones, ones_like, randn, uniform, zeros, zeros_like,
)
from .derivatives import hvp, jacobian, jvp
from .debug import debug_nans, deterministic
from .elsewhere import FUNCTIONS as _FUNCTIONS
from .explain import explain
from .generator import Generator, default_generator, seed
from .gradients import grad, value_and_grad
from .interop import from_dlpack
from .mixed import mixed
from .ledger import largest_batch, ledger, spec
from .op import Op
from .ops.activation import (
    elu, gelu, hard_sigmoid, hard_tanh, leaky_relu, relu, relu6, selu, sigmoid, silu, softplus, tanh,
)
from .ops.conv import (
    conv, conv1d, conv2d, conv3d, conv_transpose, conv_transpose1d, conv_transpose2d, conv_transpose3d,
    depthwise_conv, depthwise_conv1d, depthwise_conv2d, depthwise_conv3d,
    separable_conv, separable_conv1d, separable_conv2d, separable_conv3d,
)
from .ops.dropout import dropout
from .ops.elementwise import exp, log
from .ops.gemm import gemm, linear, matmul
from .ops.loss import binary_cross_entropy, cross_entropy, embedding, huber_loss, mse_loss, one_hot
from .ops.lp_pool import lp_pool, lp_pool1d, lp_pool2d, lp_pool3d
from .ops.norm import batch_norm, group_norm, layer_norm, local_response_norm
from .ops.pool import (
    max_pool, max_pool1d, max_pool2d, max_pool3d, avg_pool, avg_pool1d, avg_pool2d, avg_pool3d,
    global_max_pool, global_max_pool1d, global_max_pool2d, global_max_pool3d,
    global_avg_pool, global_avg_pool1d, global_avg_pool2d, global_avg_pool3d,
    adaptive_max_pool, adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d,
    adaptive_avg_pool, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d,
)
from .ops.softmax import log_softmax, logsumexp, softmax
from .per_sample import per_sample_grad
from .profiling import profile
from .remat import remat
from .settings import (
    current_backend, current_precision, set_precision, set_workspace_limit, use_backend, workspace_limit,
)
from .storage import load, load_metadata, save
from .tensor import Tensor, tensor

if _typing.TYPE_CHECKING:
    from . import onnx as onnx, torch as torch, verify as verify

__version__ = "0.1.0"
_AT_FIRST_USE = ("onnx", "torch", "verify")

_keras_loader.install_if_asked()


def __getattr__(name: str) -> object:
    """Import what is imported where it is first asked for: onnx and torch, which need packages of those names, and
    verify, since the tables of cases come with it.

    Other names raise AttributeError; for names of convgpu.numpy, such as sum, and of PyTorch the message has ours.
    """
    if name in _AT_FIRST_USE:
        return importlib.import_module(f".{name}", __name__)
    where = f"; it is convgpu.numpy.{name}" if name in numpy.__all__ else (
        f"; here it is {_FUNCTIONS[name]}" if name in _FUNCTIONS else "")
    raise AttributeError(f"module 'convgpu' has no attribute {name!r}{where}")


__all__ = [
    "adaptive_avg_pool", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "arange", "avg_pool", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "batch_norm", "binary_cross_entropy", "capture", "check_grad", "conv", "conv1d",
    "conv2d", "conv3d", "conv_transpose", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cross_entropy",
    "current_backend", "current_precision", "data", "debug_nans", "default_generator", "depthwise_conv",
    "depthwise_conv1d", "depthwise_conv2d", "depthwise_conv3d", "deterministic", "distributed", "dropout", "elu",
    "embedding", "exp", "explain", "eye", "from_dlpack", "full", "full_like", "gelu", "gemm", "Generator",
    "get_num_threads", "global_avg_pool", "global_avg_pool1d", "global_avg_pool2d", "global_avg_pool3d",
    "global_max_pool", "global_max_pool1d", "global_max_pool2d", "global_max_pool3d", "glorot_uniform", "grad",
    "group_norm", "hard_sigmoid", "hard_tanh", "he_normal", "huber_loss", "hvp", "is_grad_enabled", "jacobian", "jvp",
    "largest_batch", "layer_norm", "leaky_relu", "ledger", "linear", "load", "load_metadata", "local_response_norm",
    "log", "log_softmax", "logsumexp", "lp_pool", "lp_pool1d", "lp_pool2d", "lp_pool3d", "matmul", "max_pool",
    "max_pool1d", "max_pool2d", "max_pool3d", "mixed", "mse_loss", "no_grad", "numpy", "one_hot", "ones", "ones_like",
    "Op", "optim", "per_sample_grad", "profile", "ptx", "randn", "relu", "relu6", "remat", "save", "seed", "selu",
    "separable_conv", "separable_conv1d", "separable_conv2d", "separable_conv3d", "set_num_threads", "set_precision",
    "set_workspace_limit", "sigmoid", "silu", "softmax", "softplus", "spec", "tanh", "Tensor", "tensor", "tree",
    "uniform", "use_backend", "value_and_grad", "workspace_limit", "zeros", "zeros_like",
]

# functions that run a function whose errors are the user's own
_RUN_THE_USERS = ("capture", "check_grad", "deterministic", "hvp", "jvp", "largest_batch", "ledger")
_explain_errors(globals(), [name for name in __all__ if name not in _RUN_THE_USERS])
