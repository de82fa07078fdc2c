"""The line of the user's program that is being executed, for messages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_OURS = f"{Path(__file__).parent}/"
_USERS = tuple(f"{_OURS}{folder}/" for folder in ("architectures", "examples"))  # these use the package as others do
_LIBRARIES = ("/numpy/", "/keras/")


def line_of_user() -> tuple[str, str]:
    """The innermost line outside of this package and of libraries, and the function of this package that it calls."""
    frame: Any = sys._getframe(2)
    function = ""
    while frame is not None:
        name = frame.f_code.co_filename
        ours = name.startswith(_OURS) and not name.startswith(_USERS)
        if not ours and not any(part in name for part in _LIBRARIES):
            return f"{name}:{frame.f_lineno}", function
        if ours and not name.endswith("/arguments.py"):  # which wraps all public functions
            function = frame.f_code.co_name
        frame = frame.f_back
    return "", function
