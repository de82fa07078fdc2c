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


# --- options whose values have a rule of their own

M, V = np.zeros(3, np.float32), np.ones(3, np.float32)


def adam(**state: Any) -> Any:
    return cg.optim.Adam(lr=0.1).load_state_dict(state)


def scaled(**state: Any) -> Any:
    return cg.optim.SGD(lr=0.1, loss_scale=cg.optim.LossScale()).load_state_dict(state)


OPTIONS: list[tuple[str, type[Exception], str, Callable[[], Any]]] = [
    ("batch_norm", ValueError, "a finite epsilon >= 0, got -1", lambda: cg.batch_norm(
        X, M, V, training=True, epsilon=-1)),
    ("batch_norm", ValueError, "a finite epsilon >= 0, got nan", lambda: cg.batch_norm(
        X, M, V, training=False, epsilon=float("nan"))),
    ("batch_norm", ValueError, "a finite epsilon >= 0, got inf", lambda: cg.batch_norm(
        X, M, V, training=False, epsilon=float("inf"))),
    ("batch_norm", ValueError, r"momentum in \[0, 1\], got 1.5", lambda: cg.batch_norm(
        X, M, V, training=True, momentum=1.5)),
    ("batch_norm", ValueError, r"momentum in \[0, 1\], got nan", lambda: cg.batch_norm(
        X, M, V, training=True, momentum=float("nan"))),
    ("batch_norm", TypeError, "training to be True or False, got 'yes'", lambda: cg.batch_norm(
        X, M, V, training="yes")),
    ("batch_norm", TypeError, "training to be True or False, got 2", lambda: cg.batch_norm(X, M, V, training=2)),
    ("dropout", TypeError, "training to be True or False, got 'no'", lambda: cg.dropout(
        X, 0.5, generator=0, training="no")),
    ("layer_norm", ValueError, "a finite epsilon >= 0, got -1", lambda: cg.layer_norm(X, epsilon=-1)),
    ("group_norm", ValueError, "a finite epsilon >= 0, got nan", lambda: cg.group_norm(X, 1, epsilon=float("nan"))),
    ("LossScale", TypeError, "initial to be a number, got 'a'", lambda: cg.optim.LossScale("a")),
    ("LossScale", ValueError, "a positive number, got 1e[+]300; float32 holds it", lambda: cg.optim.LossScale(1e300)),
    ("Adam", TypeError, "lr to be a number, got 'a'", lambda: cg.optim.Adam(lr="a")),
    ("Adam", ValueError, "a finite lr >= 0, got inf", lambda: cg.optim.Adam(lr=float("inf"))),
    ("Adam", TypeError, "betas to be two numbers, got 0.9", lambda: cg.optim.Adam(betas=0.9)),
    ("Adam", TypeError, "betas to be a number, got 'x'", lambda: cg.optim.Adam(betas=("x", 0.9))),
    ("Adam", ValueError, r"betas in \[0, 1\), got \(0.9, 1\)", lambda: cg.optim.Adam(betas=(0.9, 1))),
    ("Adam", TypeError, "epsilon to be a number, got None", lambda: cg.optim.Adam(epsilon=None)),
    ("AdamW", TypeError, "weight_decay to be a number, got 'a'", lambda: cg.optim.AdamW(weight_decay="a")),
    ("Adam", TypeError, "clip_norm to be a number, got 'x'", lambda: cg.optim.Adam(clip_norm="x")),
    ("Adam", TypeError, "loss_scale to be a LossScale or None, got 3.0", lambda: cg.optim.Adam(loss_scale=3.0)),
    ("SGD", TypeError, "nesterov to be True or False, got 'no'", lambda: cg.optim.SGD(0.1, 0.9, nesterov="no")),
    ("SGD", ValueError, r"momentum in \[0, 1\], got nan", lambda: cg.optim.SGD(0.1, momentum=float("nan"))),
    ("Adam.load_state_dict", TypeError, r"a dict as state_dict returns it, got \[\]", lambda: cg.optim.Adam(
        ).load_state_dict([])),
    ("Adam.load_state_dict", ValueError, r"the keys \['steps', 'mean', 'square'\], got \[\]", lambda: adam()),
    ("Adam.load_state_dict", ValueError, "the keys .*, got .'steps'.", lambda: adam(steps=3)),
    ("Adam.load_state_dict", ValueError, "the keys .*, got .'more', 'steps'.", lambda: adam(steps=0, more=1)),
    ("Adam.load_state_dict", ValueError, "steps >= 0, got -1", lambda: adam(steps=-1)),
    ("Adam.load_state_dict", TypeError, "steps to be an integer, got 1.5", lambda: adam(steps=1.5)),
    ("Adam.load_state_dict", TypeError, "steps to be an integer, got None", lambda: adam(steps=None)),
    ("Adam.load_state_dict: square", TypeError, "floating arrays, got 'x'", lambda: adam(
        steps=1, mean={"w": M}, square={"w": "x"})),
    ("SGD.load_state_dict", ValueError, "loss_scale to be a positive scale and a number of steps", lambda: scaled(
        steps=0, loss_scale="x")),
    ("SGD.load_state_dict", ValueError, "loss_scale to be a positive scale and a number of steps", lambda: scaled(
        steps=0, loss_scale=[-1.0, 0.0])),
    *[(name, TypeError, "a function, got 3", run) for name, run in (
        ("remat", lambda: cg.remat(3)), ("value_and_grad", lambda: cg.value_and_grad(3)),
        ("mixed", lambda: cg.mixed("bfloat16")(3)), ("check_grad", lambda: cg.check_grad(3, X)),
        ("ledger", lambda: cg.ledger(3, cg.spec(2))), ("largest_batch", lambda: cg.largest_batch(3)))],
    ("mixed", TypeError, "loss_scale to be a LossScale or None, got 3.0", lambda: cg.mixed("float16", 3.0)),
    ("ledger", ValueError, "warmup >= 0, got -1", lambda: cg.ledger(cg.exp, cg.spec(2), warmup=-1)),
    ("ledger", TypeError, "warmup to be an integer, got 'a'", lambda: cg.ledger(cg.exp, cg.spec(2), warmup="a")),
    ("largest_batch", ValueError, "least >= 1, got 0", lambda: cg.largest_batch(cg.exp, least=0)),
    ("spec", TypeError, "sizes to be an integer, got 2.5", lambda: cg.spec((2.5, 3))),
    ("spec", TypeError, "sizes to be an integer, got 'a'", lambda: cg.spec("a")),
    ("spec", ValueError, "sizes >= 0, got -1", lambda: cg.spec((2, -1))),
]


@pytest.mark.parametrize("what, kind, rule, call", OPTIONS, ids=[f"{o[0]}-{i}" for i, o in enumerate(OPTIONS)])
def test_options_with_rules_of_their_own(what: str, kind: type[Exception], rule: str, call: Callable[[], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(kind, match=f"^{re.escape(what)}: expected {rule}"):
            call()


def test_a_state_that_is_refused_changes_nothing() -> None:
    optimizer = cg.optim.Adam(lr=0.1)
    optimizer.step({"w": cg.ones(3)}, {"w": cg.ones(3)})
    before = optimizer.state_dict()
    for square in ({"v": M}, {"w": "x"}):
        bad = {"steps": 5, "mean": {"w": M}, "square": square}
        with pytest.raises((TypeError, ValueError)):
            optimizer.load_state_dict(bad)
    assert optimizer.state_dict()["steps"] == 1
    np.testing.assert_array_equal(optimizer.state_dict()["mean"]["w"], before["mean"]["w"])


@pytest.mark.parametrize("training", [1, 0, np.True_, np.int64(0)])
def test_numbers_that_are_bools(training: Any) -> None:
    assert cg.batch_norm(X, M, V, training=training)[0].shape == X.shape
