"""How an op is declared: its name, its signature, its forward function, its gradients.

    exp = Op("exp", "x -> y", np.exp).vjp(x=lambda g, y: g * y)

The signature lists the differentiable inputs, then after a semicolon the static arguments (axes, options), and after
the arrow the outputs. A gradient rule (vector-Jacobian product) takes `g`, the gradient of the first output, and
whatever inputs, static arguments and outputs its parameters name; only what the rules name is saved for the backward
pass. Where one computation gives several gradients, a joint rule (`vjp_jointly`) returns them all. Rules compute with
Tensors and ops, so that derivatives of any order follow. An op without a forward function is computed by the backend's
function of the same name.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import autograd
from .backends import SEQUENCES

if TYPE_CHECKING:
    from .facts import Facts

_REQUIRED = object()


class Rule(NamedTuple):
    """One gradient rule: its function, and the names of the saved values that the function takes."""

    function: Callable[..., Any]
    needs: tuple[str, ...]


class Op:
    """A differentiable function of arrays.

    Args:
        name: the name in errors, in the registry and in every backend.
        signature: "inputs; statics -> outputs", comma separated. An input or static may have a default
            ("bias=None", "alpha=1.0"). A single input "*xs" takes any number of tensors as one sequence.
        forward: computes the output array (or a tuple of arrays) from arrays and statics; None: the backend does.
        broadcasts: the inputs broadcast against each other; gradients are summed back to each input's shape.
        moves: the op moves elements and does not compute with them, so that bfloat16 stays as it is on the GPU.
        cheap: one pass over the elements computes the first output again, with the same bits. Where all inputs are kept
            in any case, ops that need this output for their backward pass do not keep it but have it computed again.
        by_kernel: computes the output with a backend's kernel; it returns NotImplemented for what it leaves to
            `forward`.

    Only the first output carries a gradient; others (indices, window offsets) are constants.

    >>> import convgpu as cg, numpy as np
    >>> cube = Op("cube", "x -> y", lambda x: x**3).vjp(x=lambda g, x: g * 3 * x**2)
    >>> x = cg.tensor([1.0, 2.0], requires_grad=True)
    >>> cube(x).sum().backward(); x.grad
    Tensor([ 3., 12.], dtype=float32)
    """

    registry: dict[str, Op] = {}

    def __init__(self, name: str, signature: str, forward: Callable[..., Any] | None = None, *,
                 broadcasts: bool = False, moves: bool = False, cheap: bool = False,
                 by_kernel: Callable[..., Any] | None = None):
        arguments, _, outputs = signature.partition("->")
        inputs, _, statics = arguments.partition(";")
        self.name, self.signature, self.forward = name, signature, forward
        self.broadcasts, self.moves, self.cheap, self.by_kernel = broadcasts, moves, cheap, by_kernel
        self.__name__ = name
        self.__doc__ = f"{name}({arguments.strip()}) -> {outputs.strip()}\n\n{_summary(forward)}".strip()
        self._defaults: dict[str, Any] = {}
        self.inputs = self._parse(inputs)
        self.statics = self._parse(statics)
        self.outputs = self._parse(outputs)
        self.variadic = len(self.inputs) == 1 and self.inputs[0].startswith("*")
        self.inputs = tuple(i.lstrip("*") for i in self.inputs)
        if not self.inputs or not self.outputs:
            raise ValueError(f"Op {name!r}: expected a signature like 'x, w; axis -> y', got {signature!r}")
        self.arguments = self.inputs + self.statics
        self.roles = {name: (role, i) for role, names in (("input", self.inputs), ("static", self.statics),
                                                          ("output", self.outputs)) for i, name in enumerate(names)}
        self._needs: dict[tuple[tuple[bool, ...], bool], list[tuple[str, tuple[str, int]]]] = {}
        self.rules: dict[str, Rule] = {}
        self.onto: dict[str, Rule] = {}
        self.joint: Rule | None = None
        self.sparse = False
        self.joins = False  # whether the op is one result of a hub, which takes gradients of several results at once
        self.pulled_back: Rule | None = None
        self.epilogue: str | None = None  # the static argument that is None where nothing is to be pulled back
        self._facts: Facts | None = None
        if self.variadic:
            SEQUENCES.add(name)
        Op.registry[name] = self

    @property
    def facts(self) -> Facts:
        """What the project knows of an op that backends run: its cost, plan, test cases (docs/adding-an-op.md)."""
        if self._facts is None:
            from . import facts  # noqa: F401 - importing this package sets the facts of all ops
        if self._facts is None:
            raise LookupError(f"facts of {self.name}: expected an op of which convgpu/facts knows something, which has "
                              "no function of its own and is run by backends; got one of which it knows nothing")
        return self._facts

    @facts.setter
    def facts(self, known: Facts) -> None:
        self._facts = known

    def _parse(self, part: str) -> tuple[str, ...]:
        names = []
        for item in filter(None, (s.strip() for s in part.split(","))):
            name, has_default, default = item.partition("=")
            names.append(name.strip())
            if has_default:
                self._defaults[name.strip()] = ast.literal_eval(default.strip())
        return tuple(names)

    def vjp(self, **rules: Callable[..., Any]) -> Op:
        """Declare the gradient with respect to each named input; returns the op."""
        for name, function in rules.items():
            if name not in self.inputs:
                raise ValueError(f"Op {self.name!r}: expected a gradient for one of {self.inputs}, got {name!r}")
            self._expect_one_kind_of_rule(self.joint is not None)
            self.rules[name] = self._rule(function)
        self._needs.clear()
        return self

    def vjp_onto(self, **rules: Callable[..., Any]) -> Op:
        """Declare, for inputs with a rule, how their gradient is computed on top of another one; returns the op.

        Where gradients meet, the last step of a gradient's kernel may add the one that is there already. The function
        takes `g`, then `total`, the gradient that is there, and then what it needs of what the input's rule needs. It
        returns the sum, or None where it cannot: the rule and an addition follow then.
        """
        for name, function in rules.items():
            rule = self._rule(function, ("g", "total"))
            if name not in self.rules or not set(rule.needs) <= set(self.rules[name].needs):
                raise ValueError(f"Op {self.name!r}: expected a rule for {name!r} that needs what this one needs, "
                                 f"{rule.needs}; declare it with vjp first")
            self.onto[name] = rule
        return self

    def vjp_jointly(self, function: Callable[..., Any], sparse: bool = False) -> Op:
        """Declare one rule for the gradients of all inputs, where one computation gives several; returns the op.

        The function takes `g`, then `wanted`, a tuple that says for each input whether it wants a gradient, then by
        name what it needs of inputs, static arguments and outputs. It returns a sequence of one gradient per input;
        None stands for each input that wants none, and with `sparse` also for a gradient of zeros.
        """
        self._expect_one_kind_of_rule(bool(self.rules))
        self.joint, self.sparse = self._rule(function, ("g", "wanted")), sparse
        self._needs.clear()
        return self

    def _expect_one_kind_of_rule(self, other_kind: bool) -> None:
        if other_kind:
            raise ValueError(f"Op {self.name!r}: expected either rules for single inputs (vjp) or one rule for all of "
                             "them (vjp_jointly), got both")

    def pull_back(self, function: Callable[..., Any], epilogue: str | None = None) -> Op:
        """Declare a first step shared by all rules: the gradient through an epilogue (bias, activation), taken once.

        Where the static argument that `epilogue` names is None, there is no such step, and nothing is saved for it.
        """
        if epilogue is not None and epilogue not in self.statics:
            raise ValueError(f"Op {self.name!r}: expected epilogue to be one of {self.statics}, got {epilogue!r}")
        self.pulled_back, self.epilogue = self._rule(function), epilogue
        if epilogue is not None and epilogue not in self.pulled_back.needs:
            raise ValueError(f"Op {self.name!r}: expected a step that takes its epilogue {epilogue!r}, got one over "
                             f"{self.pulled_back.needs}")
        self._needs.clear()
        return self

    def needs(self, wanted: tuple[bool, ...], pulls_back: bool) -> list[tuple[str, tuple[str, int]]]:
        """The names and roles of the values that the backward pass needs when these inputs want a gradient."""
        key = wanted, pulls_back
        if key not in self._needs:
            inputs = self.inputs * any(wanted) if self.variadic else itertools.compress(self.inputs, wanted)
            rules = [*map(self.rules.get, inputs), self.joint, self.pulled_back if pulls_back else None]
            names = dict.fromkeys(name for rule in rules if rule is not None for name in rule.needs)
            self._needs[key] = [(name, self.roles[name]) for name in names]
        return self._needs[key]

    def needs_and_arguments(self, needs: list[tuple[str, tuple[str, int]]]) -> list[tuple[str, tuple[str, int]]]:
        """What is kept of an op that is computed again: all its arguments, and outputs among what the rules need."""
        return [*[(name, self.roles[name]) for name in self.arguments], *[n for n in needs if n[0] in self.outputs]]

    def _rule(self, function: Callable[..., Any], leading: tuple[str, ...] = ("g",)) -> Rule:
        names = tuple(inspect.signature(function).parameters)
        first, needs = names[:len(leading)], names[len(leading):]
        if first != leading or set(needs) - set(self.arguments) - set(self.outputs):
            raise ValueError(f"Op {self.name!r}: expected a gradient rule over {', '.join(leading)} and any of "
                             f"{self.arguments + self.outputs}, got parameters {names}")
        return Rule(function, needs)

    def bind(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments in the signature's order, with the defaults filled in."""
        if len(args) > len(self.arguments):
            raise TypeError(f"{self.name}: expected at most {len(self.arguments)} arguments, got {len(args)}")
        bound = list(args)
        for name in self.arguments[len(args):]:
            value = options.pop(name, self._defaults.get(name, _REQUIRED))
            if value is _REQUIRED:
                raise TypeError(f"{self.name}: expected the arguments of '{self.signature}', got no {name!r}")
            bound.append(value)
        if options:
            raise TypeError(f"{self.name}: expected the arguments of '{self.signature}', got {sorted(options)} besides")
        return tuple(bound)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if options or len(args) != len(self.arguments):
            args = self.bind(args, options)
        return autograd.apply(self, args)

    def __repr__(self) -> str:
        return f"Op({self.name!r}, {self.signature!r})"


def _summary(function: Callable[..., Any] | None) -> str:
    """The first paragraph of a function's documentation, without the call signature that NumPy's texts begin with."""
    if not hasattr(function, "__name__"):  # for None and for objects, __doc__ would be that of their class
        return ""
    text = re.sub(r"^\w+\(.*\n\n", "", function.__doc__ or "")
    return " ".join(text.split("\n\n")[0].split())
