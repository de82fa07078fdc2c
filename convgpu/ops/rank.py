"""Functions for a fixed number of spatial axes: conv2d is conv for images of four axes, and raises for other images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ..tensor import as_tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def of_rank(function: Function, rank: int) -> Function:
    """`function`, whose first argument is a batch of images, restricted to images of `rank` spatial axes.

    The result is called as the function with "1d", "2d" or "3d" at the end, in error messages too; the signature stays.

    >>> from convgpu.ops.pool import max_pool
    >>> max_pool2d = of_rank(max_pool, 2)
    >>> max_pool2d([[[1.0]]], 1)
    Traceback (most recent call last):
        ...
    ValueError: max_pool2d: expected x of 4 axes (batch, 2 spatial, channels), got shape (1, 1, 1)
    """
    name = f"{function.__name__}{rank}d"

    @functools.wraps(function)
    def checked(x: Any, *args: Any, **options: Any) -> Any:
        x = as_tensor(x, name)
        if x.ndim != rank + 2:
            raise ValueError(f"{name}: expected x of {rank + 2} axes (batch, {rank} spatial, channels), "
                             f"got shape {x.shape}")
        try:
            return function(x, *args, **options)
        except (TypeError, ValueError) as error:
            rest = str(error).removeprefix(function.__name__)
            if rest.startswith((":", "()")):  # replace the function's name in the error by the name that was called
                error.args = (name + rest,)
            raise

    checked.__name__ = checked.__qualname__ = name
    checked.__doc__ = f"`{function.__name__}` for {rank}-D images: x of {rank + 2} axes, or ValueError.\n"
    return checked  # type: ignore[return-value]
