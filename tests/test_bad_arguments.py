"""Bad arguments of every public function: the error is of Python's kind for it, names the function, the rule, and what
came. NumPy's, Python's and pybind11's own words for it do not reach the user alone.

Every function is called with good arguments of which one is replaced by each of the bad values in turn. What happens to
work (a number as a tensor, a bool as an integer) is none of this test's business.
"""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import namespace_calls
import numpy as np
import pytest

import convgpu as cg
import convgpu.numpy as cnp
from convgpu.geometry import DoesNotFit

BAD: list[Any] = [
    None, "abc", float("nan"), float("inf"), -1, 0, 2**70, -2**70, 1.5, 1 + 2j, [], {}, (1, 2), (2**70,), (-1, -1),
    np.array(["a"]), np.zeros((0, 3)), np.zeros((1,) * 7), np.zeros(3, np.float16), np.zeros((2, 3), np.int64),
    [[1, 2], [3]], slice(1, 2), np.array([1 + 2j]), [np.nan],
]
X, IMAGE = np.full((2, 3), 0.5, np.float32), np.full((1, 4, 4, 2), 0.5, np.float32)
FILTERS, ROW, EYE = np.full((3, 3, 2, 2), 0.5, np.float32), np.full(3, 0.5, np.float32), np.eye(3, dtype=np.float32)
DEPTHWISE, POINTWISE = np.full((3, 3, 2, 1), 0.5, np.float32), np.full((1, 1, 2, 2), 0.5, np.float32)
POOLS = {f"{kind}_pool": (IMAGE, 2) for kind in ("max", "avg", "adaptive_max", "adaptive_avg")}
PUBLIC: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "softplus", "hard_sigmoid",
                     "hard_tanh", "softmax", "log_softmax", "logsumexp", "tensor", "layer_norm"), (X,)),
    "conv": (IMAGE, FILTERS), "conv_transpose": (IMAGE, FILTERS), "depthwise_conv": (IMAGE, DEPTHWISE),
    "separable_conv": (IMAGE, DEPTHWISE, POINTWISE), **POOLS, "global_max_pool": (IMAGE,), "global_avg_pool": (IMAGE,),
    "batch_norm": (X, ROW, ROW, ROW, ROW), "group_norm": (IMAGE, 2), "local_response_norm": (IMAGE, 3),
    "gemm": (EYE, EYE, EYE), "matmul": (EYE, EYE), "linear": (X, EYE, ROW), "embedding": (np.array([0, 1]), EYE),
    "one_hot": (np.array([0, 1]), 3), "cross_entropy": (X, np.array([0, 1])), "mse_loss": (X, X), "huber_loss": (X, X),
    "binary_cross_entropy": (X, X), "dropout": (X, 0.5), "arange": (0, 3, 1), "eye": (3, 3), "full": ((2, 3), 1.0),
    "full_like": (X, 1.0), "zeros": ((2, 3),), "zeros_like": (X,), "randn": ((2, 3),), "uniform": ((2, 3), 0.0, 1.0),
    "he_normal": ((2, 3),), "glorot_uniform": ((2, 3),),
}
KEYWORDS = {"batch_norm": {"training": True}, "dropout": {"generator": 0}, "randn": {"generator": 0},
            "uniform": {"generator": 0}, "he_normal": {"generator": 0}, "glorot_uniform": {"generator": 0}}
LINALG = {"norm": (X,), "solve": (EYE, ROW), "lstsq": (EYE, ROW), "qr": (X,), "svd": (X,), "pinv": (X,),
          "matrix_rank": (X,), "det": (EYE,), "slogdet": (EYE,), "inv": (EYE,), "cholesky": (EYE,), "eigvalsh": (EYE,),
          "eigh": (EYE,), "eig": (EYE,)}
# What Python or an Op says of a call that does not fit a signature, which is plain enough.
SIGNATURE = re.compile(r"missing \d+ required|expected the arguments of|unexpected (keyword )?argument|"
                       r"takes (from )?\d+ |multiple values|at most \d+ arguments")


def calls() -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    for name, table in {**namespace_calls.CALLS, **namespace_calls.NEW}.items():
        for call in table[:1]:
            yield f"numpy.{name}", getattr(cnp, name), call.args, call.options
    for name, args in LINALG.items():
        yield f"numpy.linalg.{name}", getattr(cnp.linalg, name), args, {}
    for name, args in PUBLIC.items():
        yield name, getattr(cg, name), args, KEYWORDS.get(name, {})


def spoiled(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The call with each of its arguments, given or not, replaced by each of the bad values."""
    names = list(function.arguments) if isinstance(function, cg.Op) else [
        p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for i, bad in itertools.product(range(len(args)), BAD):
        yield f"argument {i}", bad, (args[:i] + (bad,) + args[i + 1:], options)
    for name, bad in itertools.product(names[len(args):], BAD):
        yield name, bad, (args, {**options, name: bad})


CALLS = {name: call for name, *call in calls()}


@pytest.mark.parametrize("name", CALLS)
def test_errors_carry_rule_expected_and_got(name: str) -> None:
    function, args, options = CALLS[name]
    wrong = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for argument, bad, (positional, keywords) in spoiled(function, args, options):
            try:
                function(*positional, **keywords)
            except (NotImplementedError, MemoryError):
                continue
            except Exception as error:
                message = str(error)
                plain = type(error) in (ValueError, DoesNotFit, IndexError) or isinstance(error, TypeError)
                ours = re.match(r"[\w.]+: ", message) and ("expected" in message or "spans" in message)
                if not (plain and (ours or SIGNATURE.search(message))):
                    wrong.append(f"{argument}={bad!r:.40}: {type(error).__name__}: {message:.120}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("call, message", [
    (lambda: cnp.sum(X, axis="a"), r"^sum: expected axis to be an integer, got 'a'$"),
    (lambda: cnp.sum(X, axis=2**70), r"^sum: expected axis <= 9223372036854775807, got 1180591620717411303424$"),
    (lambda: cg.tensor(X).sum(axis=2), r"^sum: expected axis in \[-2, 2\), got 2$"),
    (lambda: cg.tensor(X) + ROW[:2],
     r"^add: expected shapes that broadcast or agree, got a=float32 \(2, 3\), b=float32 \(2,\)"),
    (lambda: cnp.reshape(X, (4, -1)), r"^reshape: expected a shape of as many elements as x has, 6, .*got \(4, -1\)"),
    (lambda: cnp.zeros(3, "f00"), r"^zeros: expected dtype to be a dtype or the name of one, got 'f00'$"),
    (lambda: cnp.linspace(0, 1, "3"), r"^linspace: expected num to be an integer that 64 bits hold, got '3'$"),
    (lambda: cnp.arctan2(None, X), r"^arctan2: expected a to be a tensor, array or number, got None$"),
    (lambda: cnp.linalg.inv(np.zeros((2, 2))), r"^inv: expected regular matrices, got \(2, 2\) .*Singular matrix"),
    (lambda: cnp.linalg.solve(EYE, np.ones(2)), r"^solve: expected b of 3 rows like a, got shapes"),
    (lambda: cnp.linalg.det(X), r"^det: expected square matrices, .*got shape \(2, 3\)$"),
    (lambda: cg.zeros((2**40, 2**40)), r"^shape: expected shape of at most 2\^63 - 1 elements, got"),
    (lambda: cnp.left_shift([1], 2**70), r"^left_shift: expected .*got"),
    (lambda: cg.conv(IMAGE, FILTERS, activation=[]), r"^conv: expected activation to be None or one of .*got \[\]"),
])
def test_words(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_errors_of_the_signature_and_of_the_caller_stay_as_they_are() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        cnp.sum(X, foo=1)

    class Broken:
        def __convgpu_tensor__(self) -> Any:
            raise RuntimeError("of their own")

    with pytest.raises(RuntimeError, match="^of their own$"):
        cnp.sum(Broken())
