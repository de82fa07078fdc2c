"""The geometry of convolution and pooling: one object that holds all sizes, checked once, for 1 to 3 spatial axes; and
of normalisation.

The output size along an axis is floor((n + before + after - (d*(f-1) + 1)) / s) + 1, for an input of n pixels, a filter
of f taps, stride s, dilation d and padding (before, after). "same" gives ceil(n / s); an odd pixel of padding is added
at the end.
"""

from .conv import ConvGeometry, conv_geometry, conv_transpose_geometry
from .norm import NormGeometry, batch_norm_geometry, group_norm_geometry, layer_norm_geometry
from .options import DoesNotFit, extent, is_channels_last, output_size, positive
from .pool import PoolGeometry, adaptive_pool_geometry, pool_geometry

__all__ = [
    "ConvGeometry", "DoesNotFit", "NormGeometry", "PoolGeometry", "adaptive_pool_geometry", "batch_norm_geometry",
    "conv_geometry", "conv_transpose_geometry", "extent", "group_norm_geometry", "is_channels_last",
    "layer_norm_geometry", "output_size", "pool_geometry", "positive",
]
