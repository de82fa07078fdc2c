"""Judges a function of a user by our tables of cases: `convgpu.verify.against(fn, family="conv_fprop")`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..cases.tolerance import C_NUMPY, in_units
from ..dtypes import as_dtype, is_half
from .child import CAN_FORK, Child
from .memory import ALIGNED, Guards, protected, sides
from .questions import Question, adjoint, questions

SHOWN = 10  # how many failures are printed in full

# Values at which an option may be left out for a function that has no parameter of this name.
DEFAULTS: dict[str, Callable[[Any], bool]] = {
    "stride": lambda value: set(value) == {1}, "dilation": lambda value: set(value) == {1},
    "padding": lambda value: not any(map(any, value)), "groups": lambda value: value == 1,
    "data_format": lambda value: value == "channels_last", "alpha": lambda value: value == 1,
    "beta": lambda value: value == 1, "trans_a": lambda value: not value, "trans_b": lambda value: not value,
    "activation": lambda value: value is None, "ceil_mode": lambda value: not value,
    "count_include_pad": lambda value: not value, "label_smoothing": lambda value: value == 0,
    "reduction": lambda value: value == "mean", "keepdims": lambda value: not value,
    "epsilon": lambda value: value == 1e-5, "x_shape": lambda value: True, "w_shape": lambda value: True,
}


@dataclass
class Found:
    """What was found about one case. verdict: "passed", "declined" or "failed". worst: the largest error in units of
    the bound. declined: why the function does not take the case. failures: what is wrong, in sentences. asked: shapes
    and options.
    """

    case: str
    dtype: str
    data_format: str
    asked: str
    worst: float = 0.0
    declined: str | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """ "passed", "declined" or "failed"."""
        return "failed" if self.failures else "declined" if self.declined is not None else "passed"


@dataclass
class AgainstReport:
    """What was found about a function, case by case. checks: what was looked for besides the values."""

    name: str
    family: str
    units: float
    found: list[Found] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)

    def cases(self, verdict: str) -> list[Found]:
        """The cases of that verdict."""
        return [found for found in self.found if found.verdict == verdict]

    @property
    def passed(self) -> bool:
        """Whether at least one case passed, and none failed."""
        return bool(self.cases("passed")) and not self.cases("failed")

    def raise_if_wrong(self) -> None:
        """Raise AssertionError with the report unless it `passed`."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        failed, declined, passed = (self.cases(verdict) for verdict in ("failed", "declined", "passed"))
        lines = [f"{self.name} as {self.family}: {len(passed)} cases passed, {len(failed)} failed, {len(declined)} "
                 f"declined; also checked: {', '.join(self.checks) or 'nothing'}"]
        if passed:
            worst = max(passed, key=lambda found: found.worst)
            lines.append(f"the largest error of those that passed is {worst.worst:.3g} of the bound ({worst.case}, "
                         f"{worst.dtype}, {worst.data_format})")
        for found in failed[:SHOWN]:
            lines += [f"FAILED {found.case}, {found.dtype}: {found.asked}",
                      *(f"    {line}" for failure in found.failures for line in failure.splitlines())]
        if len(failed) > SHOWN:
            lines.append(f"... and {len(failed) - SHOWN} more: {_some([found.case for found in failed[SHOWN:]])}")
        for why in dict.fromkeys(str(found.declined) for found in declined):
            names = [found.case for found in declined if found.declined == why]
            lines.append(f"declined ({why}): {len(names)} cases, as {_some(names)}")
        if not passed and not failed:
            lines.append("No case was accepted, so nothing was verified: this run fails.")
        if failed:
            lines.append(f"the inputs of a case: convgpu.verify.case({self.family!r}, {failed[0].case!r}, "
                         f"{failed[0].dtype!r}, {failed[0].data_format!r})")
        return "\n".join(lines)


def case(family: str, name: str, dtype: str = "float32", data_format: str = "channels_last") -> Question:
    """One case: its `arrays`, its `options`, the `expected` result and what is `allowed`, to find out what is wrong.

    Raises LookupError and ValueError for names that are unknown, and for a case that the family does not have.

    >>> asked = case("conv_fprop", "filter_1x1_strided")
    >>> print(asked)
    x (2, 7, 6, 9), w (1, 1, 9, 7), stride=(2, 3), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
    data_format='channels_last'
    >>> asked.expected.shape
    (2, 4, 2, 7)
    """
    for question in questions(family, [dtype], [data_format], [name]):
        return question
    raise LookupError(f"{family} does not have the case {name!r} in {dtype}")


def against(fn: Callable[..., Any], family: str, *, dtypes: Sequence[str] = ("float32",),
            data_formats: Sequence[str] = ("channels_last",), cases: Sequence[str] | None = None,
            arrays: str = "numpy", device: str = "cpu", units: float = C_NUMPY, repeatable: bool = True,
            unaligned: bool = True, isolate: bool | None = None, name: str | None = None) -> AgainstReport:
    """Judge a function by the table of cases of a family, against the reference in float64.

    |result - exact| <= units * eps * op(|x|, |w|), element by element (docs/verification.md). Each case is called again
    for the same bits, on arrays that begin one element past an aligned address, and, where a process can be forked,
    with its inputs against protected pages. Inputs must not be written. Convolutions must also obey
    <g, fprop(x, w)> = <dgrad(g, w), x> = <wgrad(x, g), w>.

    Args:
        fn: `fn(*inputs, **options)`, which returns the result, or writes it to the keyword argument `out` where it has
            one: an array full of NaN between guard bytes. It raises NotImplementedError for a case that it declines.
            A case is declined by itself where it needs an option of which `fn` has no parameter. `launched` makes a
            function of a kernel of PTX.
        family: "conv_fprop" for example; docs/verification.md lists all and their options.
        dtypes, data_formats, cases: what of the table is asked; None: all cases.
        arrays: "numpy", or "torch" for tensors.
        device: where tensors of PyTorch are, "cpu" or "cuda".
        units: the allowed error in units of eps.
        repeatable: whether a second call must give the same bits.
        unaligned: whether arrays may begin at an address that is not a multiple of 16 bytes.
        isolate: whether `fn` runs in a child process, so that one that dies is a finding. None: where it is possible,
            and the device is the CPU.
        name: how the report calls the function.

    Raises:
        ValueError: the family, a dtype or a format is unknown; the message lists what there is. LookupError: there is
            no case of that name. TypeError: `fn` cannot be called. ImportError: a package is missing.

    >>> import numpy as np
    >>> report = against(lambda x: np.maximum(x, 0), "relu")
    >>> report.passed, len(report.cases("passed"))
    (True, 12)
    """
    if not callable(fn):
        raise TypeError(f"fn: expected a function, got {fn!r}")
    if arrays not in ("numpy", "torch"):
        raise ValueError(f"arrays: expected 'numpy' or 'torch', got {arrays!r}")
    if "bfloat16" in dtypes and importlib.util.find_spec("ml_dtypes") is None:
        raise ImportError('bfloat16 needs the package ml_dtypes: pip install "ml_dtypes"', name="ml_dtypes")
    asked = list(questions(family, dtypes, data_formats, cases))
    fork = CAN_FORK and device == "cpu" if isolate is None else isolate
    caller = Caller(fn, family, arrays, device, repeatable, unaligned, fork, units)
    report = AgainstReport(name or getattr(fn, "__qualname__", None) or repr(fn), family, units)
    report.checks = caller.checks
    if fork:
        after = 0
        while after < len(asked):
            after = _one_child(caller, asked, after, report)
    else:
        report.found = [caller.found(question, lambda *told: None) for question in asked]
    return report


def _one_child(caller: Caller, asked: Sequence[Question], after: int, report: AgainstReport) -> int:
    """Run the questions from `after` on in a child process, and return the index at which another must begin."""

    def body(say: Callable[[Any], None]) -> None:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)  # the threads of the parent do not exist in a child
        for index in range(after, len(asked)):
            say(("begin", index, None))
            say(("found", index, caller.found(asked[index], lambda *told, index=index: say(("begin", index, told)))))

    begun: tuple[int, Any] | None = None
    with Child(body) as child:
        for kind, index, told in child.messages():
            begun = (index, told) if kind == "begin" else None
            if kind == "found":
                report.found.append(told)
        died = child.wait()
    if died is None:
        return len(asked)
    if begun is None:
        raise RuntimeError(f"verify: the child process died of {died} between two cases")
    index, placement = begun
    question = asked[index]
    found = Found(question.case, question.dtype, question.data_format, str(question))
    found.failures.append(f"the process dies of {died}" if placement is None else
                          _culprit(caller, question, placement[0], died))
    report.found.append(found)
    return index + 1


def _culprit(caller: Caller, question: Question, side: str, died: str) -> str:
    """Which of the inputs is read outside: each lies alone against a protected page, in a process of its own."""
    guilty = []
    for index, array in enumerate(question.arrays):
        if array is None:
            continue
        with Child(lambda say, index=index: caller.beside_page(question, side, [index])) as child:  # type: ignore[misc]
            list(child.messages())
            if child.wait() is not None:
                guilty.append(question.inputs[index])
    where = "beginning" if side == "beginning" else "end"
    if guilty:
        return f"reads past the {where} of {' and '.join(guilty)}: the process dies of {died}"
    return f"the process dies of {died} with its inputs against a protected page at their {where}, with none alone"


class Caller:
    """Calls a function on questions and says what is wrong."""

    def __init__(self, fn: Callable[..., Any], family: str, arrays: str, device: str, repeatable: bool,
                 unaligned: bool, pages: bool, units: float) -> None:
        self._fn, self._torch, self._device, self._units = fn, arrays == "torch", device, units
        self._repeatable, self._unaligned = repeatable, unaligned and device == "cpu"
        self._checked_memory = getattr(fn, "checks_memory", False)  # a kernel on the machine that runs PTX
        self._pages = pages and not self._checked_memory
        self._takes = _parameters(fn)
        self._out = self._takes is not None and "out" in self._takes
        self.checks = [told for told, made in (
            ("the same bits again", repeatable), ("arrays that are not aligned", self._unaligned),
            ("writes outside out", self._out), ("inputs against protected pages", self._pages),
            ("races and bounds", self._checked_memory),
            ("adjoint identities", family.startswith("conv_")), ("inputs unchanged", True)) if made]

    def found(self, question: Question, begin: Callable[..., None]) -> Found:
        """What is found about a question; begin(side) is called before a call that may kill the process."""
        found = Found(question.case, question.dtype, question.data_format, str(question))
        first: np.ndarray | None = None
        try:
            first = self._call(question, found, 0)
            if first is None or not self._within(question, found, first, ""):
                return found
            missed = adjoint(question, first, self._units)
            if missed is not None and not missed <= 1:
                found.failures.append(f"the adjoint identity is missed by {missed:.3g} times what the bound allows")
            if self._repeatable:
                again = self._call(question, found, 0)
                if again is None or again.tobytes() != first.tobytes():
                    found.failures.append("other bits at the second call")
            if self._unaligned:
                shifted = self._call(question, found, 1)
                if shifted is not None:
                    self._within(question, found, shifted, " with arrays one element past an aligned address")
            for side in self._sides(question) if self._pages and not found.failures else ():
                begin(side)
                beside = self._beside(question, found, side, range(len(question.arrays)))
                if beside is not None:
                    self._within(question, found, beside, f" with inputs against a page at their {side}")
        except NotImplementedError as error:
            if first is None:
                found.declined = str(error) or "NotImplementedError"
            else:
                found.failures.append(f"NotImplementedError at a later call of the same case: {error}")
        except Exception as error:  # whatever the function raises is a finding, and the other cases go on
            found.failures.append(f"{type(error).__name__}: {error}")
        return found

    def beside_page(self, question: Question, side: str, chosen: Sequence[int]) -> None:
        """One call with some inputs against a protected page, of which only the survival counts."""
        try:
            self._beside(question, Found("", "", "", ""), side, chosen)
        except Exception:  # the question is whether the process survives
            return

    def _sides(self, question: Question) -> list[str]:
        every = list(dict.fromkeys(side for a in question.arrays if a is not None for side in sides(a)))
        if self._unaligned or all(a is None or a.nbytes % ALIGNED == 0 for a in question.arrays):
            return every
        return [side for side in every if side != "end"]

    def _beside(self, question: Question, found: Found, side: str, chosen: Sequence[int]) -> np.ndarray | None:
        arrays = tuple(protected(a, side) if i in chosen and a is not None else a
                       for i, a in enumerate(question.arrays))
        return self._call(question, found, 0, arrays)

    def _call(self, question: Question, found: Found, shift: int, given: Any = None) -> np.ndarray | None:
        """The result of a call as a NumPy array; None where a failure says why there is none."""
        guards = Guards(SimpleNamespace(empty=np.empty), shift)
        given = tuple(map(guards.copy, question.arrays)) if given is None else given
        options, out = self._options(question), None
        if self._out:
            out = guards.empty(question.expected.shape, question.result_dtype)
            options["out"] = self._moved(out)
        returned = self._fn(*map(self._moved, given), **options)
        if self._out:
            returned = options["out"]
        result = _array(returned)
        for name, array, before in zip(question.inputs, given, question.arrays):
            if array is not None and array.tobytes() != before.tobytes():
                found.failures.append(f"the input {name} is written")
        if not guards.intact():
            found.failures.append("bytes are written outside the arrays")
        if not isinstance(result, np.ndarray):
            found.failures.append(f"expected one array, got {type(returned).__name__}")
            return None
        return result.copy()  # the function may use the same memory again

    def _moved(self, array: Any) -> Any:
        """The array as the function takes it."""
        if array is None or not self._torch:
            return array
        import torch

        if array.dtype.name == "bfloat16":
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(self._device)
        return torch.from_numpy(array).to(self._device)

    def _options(self, question: Question) -> dict[str, Any]:
        """The options that the function takes. Raises NotImplementedError where it lacks one that matters."""
        if self._takes is None:
            return dict(question.options)
        missing = [name for name in question.options if name not in self._takes]
        for name in missing:
            if not DEFAULTS.get(name, lambda value: False)(question.options[name]):
                raise NotImplementedError(f"it has no parameter {name!r}")
        return {name: value for name, value in question.options.items() if name in self._takes}

    def _within(self, question: Question, found: Found, result: np.ndarray, where: str) -> bool:
        wanted, exact = question.result_dtype, question.expected
        if result.shape != exact.shape or result.dtype != wanted:
            found.failures.append(f"expected {wanted} of shape {exact.shape}, got {result.dtype} of shape "
                                  f"{result.shape}{where}")
            return False
        allowed = question.allowed(self._units)
        if question.magnitude is None:
            units = np.where((result == exact) | (result != result) & (exact != exact), 0.0, math.inf)
        else:
            units = in_units(result, exact, allowed)
        worst = float(np.max(units, initial=0.0))
        found.worst = max(found.worst, worst)
        if worst <= 1:
            return True
        at = tuple(map(int, np.unravel_index(int(np.argmax(units)), units.shape)))
        found.failures.append(
            f"element {at} of {exact.shape}: got {result[at]:.9g}, expected {exact[at]:.9g}"
            f"{self._distance(question, at, result[at], allowed)}{where}; {int((units > 1).sum())} of {units.size} "
            "elements are beyond the bound")
        return False

    def _distance(self, question: Question, at: tuple[int, ...], got: Any, allowed: np.ndarray) -> str:
        """The error of an element beside what is allowed, in eps where both are numbers."""
        magnitude = question.magnitude
        if magnitude is None:
            return ", and every element must be exact"
        error = abs(float(got) - float(question.expected[at]))
        if not math.isfinite(error):
            return ""
        eps = 2.0 ** (-52 if question.result_dtype == np.float64 else -23)
        size = float(magnitude[at]) * eps
        beside = f" ({error / size:.3g} eps, where {float(allowed[at]) / size:.3g} are allowed)" if size else ""
        rounding = ", with 2 ulp of the result among them" if is_half(question.result_dtype) else ""
        return f", an error of {error:.3g}{beside}{rounding}"


def _array(returned: Any) -> Any:
    """What a function returned as a NumPy array: an array, a tensor of convgpu or of PyTorch, or a number."""
    if hasattr(returned, "detach") and hasattr(returned, "cpu"):
        tensor = returned.detach().cpu().resolve_conj().contiguous()
        if str(tensor.dtype) == "torch.bfloat16":
            import torch

            return tensor.view(torch.int16).numpy().view(as_dtype("bfloat16"))
        return tensor.numpy()
    if hasattr(returned, "numpy") and not isinstance(returned, np.ndarray):
        return np.asarray(returned.numpy())
    return np.asarray(returned) if isinstance(returned, (np.ndarray, np.generic)) else returned


def _parameters(fn: Callable[..., Any]) -> set[str] | None:
    """The names of a function's parameters; None where it takes any, or does not tell."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        named = {p.name for p in parameters}
        return named | set(DEFAULTS) | {"axis", "size"}
    return {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def imported(target: str) -> Callable[..., Any]:
    """The function of "package.module:function" or "file.py:function". Raises ValueError and ImportError."""
    module, colon, attribute = target.rpartition(":")
    if not colon or not module or not attribute:
        raise ValueError(f"--against: expected module:function or file.py:function, got {target!r}")
    if module.endswith(".py"):
        path = Path(module)
        if not path.is_file():
            raise ValueError(f"--against: there is no file {module}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = loaded
        sys.path.insert(0, str(path.parent.resolve()))
        spec.loader.exec_module(loaded)
    else:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        loaded = importlib.import_module(module)
    found: Any = loaded
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ValueError(f"--against: {module} has no {attribute!r}")
        found = getattr(found, part)
    return found
