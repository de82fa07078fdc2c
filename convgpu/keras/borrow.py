"""Functions of Keras's own NumPy backend, with convgpu.numpy in the place of NumPy.

Much of that backend is plain NumPy. `borrowed` compiles the source of one of its modules with other imports: `np` is
`convgpu.keras.backend.namespace`, whose functions take and give Tensors and record what they do, the backend's own
modules are ours, and what comes from JAX is left out. A module of ours executes it first and then defines what differs.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import CodeType

_IMPORTS = (
    (r"^(from|import) keras\.src\.backend\.numpy\b", r"\1 convgpu.keras.backend"),
    (r"^(from|import) (jax|keras\.src\.backend\.jax)\b.*$", ""),
    (r"^import scipy\.linalg as sl$", ""),
)


def borrowed(module: str, np: str = "convgpu.keras.backend.namespace") -> CodeType:
    """The code of that module of Keras's NumPy backend, its `np` being another module; tracebacks show its lines."""
    package = importlib.util.find_spec("keras")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "src" / "backend" / "numpy" / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    for pattern, replacement in (*_IMPORTS, (r"^import numpy as np$", f"import {np} as np")):
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return compile(source, str(path), "exec", dont_inherit=True)
