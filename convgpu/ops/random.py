"""The draws of random numbers, which `convgpu.Generator` makes.

An op takes the generator's state as a tensor and returns, beside the numbers, the state behind the words that they
took. So the state chooses the backend, no value of it is needed on the host, and a captured graph of draws goes on with
new numbers at each replay. A state has three elements of uint64 (seed, stream, blocks drawn) or, as Keras's seeds have,
two of uint32, which are the stream and the seed of a sequence that is drawn from its beginning.
"""

from __future__ import annotations

from ..op import Op

uniform = Op("uniform", "state; shape, low, high, dtype -> y, next")
normal = Op("normal", "state; shape, mean, std, dtype -> y, next")
integers = Op("integers", "state; shape, low, high, dtype -> y, next")
