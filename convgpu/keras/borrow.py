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

_ABSENT = ((r"^(from|import) (jax|keras\.src\.backend\.jax)\b.*$", ""), (r"^import scipy\.linalg as sl$", ""))
_OURS = ((r"^import numpy as np$", "from convgpu.keras.backend import namespace as np"),
         (r"^(from|import) keras\.src\.backend\.numpy\b", r"\1 convgpu.keras.backend"))
_NEITHER = ((r"^(from|import) keras\.src\.backend\.numpy\b.*$", ""),)


def borrowed(module: str, on_tensors: bool = True) -> CodeType:
    """The code of the module of that name in Keras's NumPy backend; tracebacks show its lines.

    With `on_tensors=False` it stays on NumPy, and takes and gives arrays: its namespace brings `convert_to_tensor` and
    `cast`, since Keras's NumPy backend imports JAX.
    """
    package = importlib.util.find_spec("keras")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "src" / "backend" / "numpy" / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    for pattern, replacement in _ABSENT + (_OURS if on_tensors else _NEITHER):
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return compile(source, str(path), "exec", dont_inherit=True)
