"""Keras 3 on convgpu: `import convgpu.keras` before keras, and Keras computes with convgpu's tensors and kernels.

    import convgpu.keras
    import keras                        # keras.backend.backend() == "convgpu"

An unchanged script runs by `python -m convgpu.keras script.py`. `convgpu.keras.backend` is the backend, laid out as
Keras lays out its own; `convgpu.keras_loader` makes Keras find it.
"""

from convgpu.keras_loader import install

install()

import keras  # noqa: E402, F401 - the backend is a part of Keras: it can be imported only once Keras is
