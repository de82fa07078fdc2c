"""Borrows functions of Keras's NumPy backend, and runs them with convgpu.numpy in place of NumPy.

Much of Keras's NumPy backend is plain NumPy. `borrow` compiles the source of one of its modules with other imports:
`np` becomes `convgpu.keras.backend.namespace`, whose functions take and return Tensors and record what they do; the
backend's modules become those of this package; imports from JAX are left out. NAMES lists the functions that each
module of this package borrows. The module defines the others itself, and `settle` lets the borrowed functions call
these definitions in place of Keras's.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import CodeType
from typing import Any

NAMES = {name: tuple(names.split()) for name, names in {
    "core": """
        fori_loop map scan switch unstack while_loop
    """,
    "image": """
        _compute_weight_mat compute_homography_matrix hsv_to_rgb resize rgb_to_grayscale rgb_to_hsv scale_and_translate
    """,
    "linalg": """
        cholesky det eig eigh inv matrix_rank norm pinv qr solve svd
    """,
    "math": """
        cdist
    """,
    "nn": """
        batch_normalization categorical_crossentropy celu depth_to_space glu hard_shrink hard_sigmoid hard_silu
        hard_tanh leaky_relu log_sigmoid multi_hot psnr relu6 soft_shrink softsign space_to_depth sparse_plus
        sparse_sigmoid sparsemax squareplus tanh_shrink threshold
    """,
    "numpy": """
        abs absolute add all allclose amax amin angle any append arange arccos arccosh arcsin arcsinh arctan arctan2
        arctanh argmax argmin argpartition argsort array array_split average bartlett bincount bitwise_and
        bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor blackman broadcast_to
        cbrt ceil clip concatenate conj conjugate copy corrcoef correlate cos cosh count_nonzero cross cumprod cumsum
        deg2rad diag diagflat diagonal diff digitize divide divide_no_nan dot dsplit dstack einsum empty empty_like
        equal exp exp2 expand_dims expm1 fabs flip fliplr flipud floor floor_divide fmax fmin fmod full full_like gcd
        geomspace greater greater_equal hamming hanning heaviside histogram hsplit hstack hypot i0 identity imag inner
        isclose isfinite isin isinf isnan isneginf isposinf isreal kaiser kron lcm ldexp left_shift less less_equal
        log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logspace matmul max
        maximum mean median meshgrid min minimum mod moveaxis multiply nan_to_num nanargmax nanargmin nancumprod
        nancumsum nanmax nanmean nanmedian nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar ndim negative
        nextafter nonzero not_equal ones ones_like outer pad percentile power prod ptp quantile rad2deg ravel real
        reciprocal repeat reshape right_shift roll rot90 round searchsorted select sign signbit sin sinc sinh size
        slogdet sort split sqrt square squeeze stack std subtract swapaxes take_along_axis tan tanh tensordot
        tile trace transpose trapezoid tri tril triu true_divide trunc unique unravel_index vander var vdot vectorize
        view vsplit vstack where zeros zeros_like
    """,
    "rnn": """
        cudnn_ok gru lstm rnn
    """,
}.items()}

# for each borrowing module of this package: the namespace that its borrowed functions run in
_scopes: dict[str, dict[str, Any]] = {}

_IMPORTS = (
    (r"^(from|import) keras\.src\.backend\.numpy\b", r"\1 convgpu.keras.backend"),
    (r"^(from|import) (jax|keras\.src\.backend\.jax)\b.*$", ""),
    (r"^import scipy\.linalg as sl$", ""),
)


def borrowed(module: str, np: str = "convgpu.keras.backend.namespace") -> CodeType:
    """The code of that module of Keras's NumPy backend with another module as its `np`; tracebacks show Keras's lines.
    """
    package = importlib.util.find_spec("keras")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "src" / "backend" / "numpy" / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    for pattern, replacement in (*_IMPORTS, (r"^import numpy as np$", f"import {np} as np")):
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return compile(source, str(path), "exec", dont_inherit=True)


def borrow(module: str, into: dict[str, Any]) -> dict[str, Any]:
    """Put the functions that NAMES lists for a module of Keras's backend into the namespace `into` of our module.

    Returns:
        The namespace in which the borrowed functions run.

    Raises:
        ImportError: this version of Keras lacks one of the functions.
    """
    scope: dict[str, Any] = {"__name__": into["__name__"]}
    exec(borrowed(module), scope)
    missing = [name for name in NAMES[module] if name not in scope]
    if missing:
        raise ImportError(f"convgpu.keras: expected a version of Keras whose NumPy backend has {', '.join(missing)} in "
                          f"{module}.py, got one without")
    into.update({name: scope[name] for name in NAMES[module]})
    return _scopes.setdefault(into["__name__"], scope)


def settle(into: dict[str, Any]) -> None:
    """Let the functions that a module of this package has borrowed call definitions of this package instead of Keras's.
    """
    package = into["__name__"].rpartition(".")[0]
    _scopes[into["__name__"]].update({name: value for name, value in into.items()
                                      if str(getattr(value, "__module__", "")).startswith(package)})
