"""Donation: tensors that are given away, and raise where somebody uses them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..tensor import Tensor

_array = Tensor.__dict__["array"]  # the slot


class Donated(Tensor):
    """A tensor whose memory holds other values now. Everything that needs its values, or their shape, raises."""

    __slots__ = ()

    @property
    def array(self) -> Any:  # type: ignore[override]
        """Raises RuntimeError."""
        raise RuntimeError(f"tensor: expected one that is still there, got one that was donated to "
                           f"{self.__dict__['_donated']}; use the tensor that the call has returned, give "
                           "convgpu.tensor(t), a copy, away, or capture with donate=()")

    def __repr__(self) -> str:
        return f"Tensor(donated to {self.__dict__['_donated']})"


def give_away(tensors: Sequence[Tensor], name: str, line: str) -> None:
    """Let tensors be donated: their memory is free, or belongs to a result."""
    for t in tensors:
        if type(t) is Tensor:  # else it has been given away twice
            t.node = t.grad = None
            t.__dict__["_donated"] = f"{name} in {line}"
            _array.__set__(t, None)
            t.__class__ = Donated  # type: ignore[assignment]


def check_given_once(name: str, tensors: Sequence[tuple[str, Any]], donated: Sequence[Tensor]) -> None:
    """Raise ValueError where a donated tensor is among the arguments twice."""
    given = {id(t.array) for t in donated}
    places: dict[int, str] = {}
    for place, leaf in tensors:
        array = leaf.array if isinstance(leaf, Tensor) else leaf
        if id(array) in given:
            if id(array) in places:
                raise ValueError(f"capture of {name}: expected each donated tensor once among the arguments, got it as "
                                 f"{places[id(array)]} and as {place}; pass convgpu.tensor(t), a copy")
            places[id(array)] = place
