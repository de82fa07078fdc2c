"""PyTorch's names of functions and options that have another name here: errors about them say which."""

from __future__ import annotations

import re

FUNCTIONS = {
    "F": "convgpu itself: convgpu.conv2d, convgpu.relu, ...", "nn": "convgpu itself: parameters are tensors in a dict, "
    "and layers are functions such as convgpu.conv2d", "functional": "convgpu itself: convgpu.conv2d, ...",
    "utils": "convgpu.data and convgpu.optim", "cuda": "t.to('gpu')",
    "from_numpy": "convgpu.tensor(array)", "as_tensor": "convgpu.numpy.asarray(data)", "manual_seed": "convgpu.seed(n)",
    "rand": "convgpu.uniform(shape)", "rand_like": "convgpu.uniform(t.shape)", "randn_like": "convgpu.randn(t.shape)",
    "enable_grad": "x.requires_grad_(), outside of no_grad", "inference_mode": "convgpu.no_grad()",
    "set_grad_enabled": "convgpu.no_grad()", "cat": "convgpu.numpy.concatenate(tensors, axis)",
    "permute": "convgpu.numpy.transpose(t, axes)", "unsqueeze": "convgpu.numpy.expand_dims(t, axis)",
    "mm": "a @ b", "bmm": "a @ b", "clamp": "convgpu.numpy.clip(t, low, high)", "flatten": "t.reshape(n, -1)",
    "interpolate": "convgpu.numpy.repeat along each axis, or convgpu.conv_transpose",
    "normalize": "t / convgpu.numpy.linalg.norm(t, axis=axis, keepdims=True)", "pad": "convgpu.numpy.pad(t, widths)",
    "l1_loss": "abs(x - targets).mean()", "smooth_l1_loss": "convgpu.huber_loss(x, targets)",
    "nll_loss": "convgpu.cross_entropy(logits, labels)", "binary_cross_entropy_with_logits":
    "convgpu.binary_cross_entropy(x, targets), which takes logits", "instance_norm": "convgpu.group_norm(x, channels)",
    "hardtanh": "convgpu.hard_tanh", "hardsigmoid": "convgpu.hard_sigmoid", "swish": "convgpu.silu",
    "local_response_normalization": "convgpu.local_response_norm", "checkpoint": "convgpu.remat",
    "kaiming_normal_": "convgpu.he_normal(shape)", "xavier_uniform_": "convgpu.glorot_uniform(shape)",
    "jacrev": "convgpu.jacobian", "vmap": "a batch axis, which every op has, or convgpu.per_sample_grad",
    "compile": "the functions as they are", "autocast": "convgpu.mixed(dtype)",
}
OPTIONS = {
    "dim": "axis", "keepdim": "keepdims", "input": "the first argument, without a name",
    "kernel_size": "size", "eps": "epsilon", "unbiased": "ddof=1", "target": "the second argument, without a name",
    "num_groups": "groups", "dims": "axis", "normalized_shape": "axis", "p": "rate",
}


def renamed(message: str, parameters: object) -> str | None:
    """A call's error about an unknown option, with our name of it where PyTorch's was given; else None."""
    found = re.search(r"unexpected keyword argument '(\w+)'", message)
    ours = OPTIONS.get(found.group(1)) if found else None
    word = re.match(r"\w+", ours) if ours else None
    known = word is not None and (word.group() == "the" or word.group() in parameters)  # type: ignore[operator]
    return f"{message}; here it is {ours}" if known else None
