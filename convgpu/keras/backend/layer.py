"""What layers inherit from the backend: nothing."""


class ConvgpuLayer:
    """The mixin of `keras.layers.Layer`."""
