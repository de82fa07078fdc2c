"""Keras 3 on convgpu: after `import convgpu.keras`, Keras computes with convgpu's tensors and kernels.

    import convgpu.keras
    import keras                        # keras.backend.backend() == "convgpu"

The import must come before that of keras. `python -m convgpu.keras script.py` runs an unchanged script.
`convgpu.keras.backend` is the backend, with the same modules as Keras's own backends; `convgpu.keras_loader` makes
Keras find it.
"""

from convgpu.keras_loader import install

install()

import keras  # noqa: E402, F401 - the backend is a part of Keras and can only be imported after Keras
