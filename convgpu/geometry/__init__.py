"""The geometry of convolution and pooling: one value that holds all sizes, checked once, for 1-D to 3-D.

Output size per axis: floor((n + before + after - (d*(f-1) + 1)) / s) + 1, for an input of n, filter of f, stride s,
dilation d and padding (before, after). "same" is ceil(n / s), the odd pixel of padding at the end.
"""

from .conv import ConvGeometry, conv_geometry, conv_transpose_geometry
from .options import DoesNotFit, extent, is_channels_last, output_size, positive
from .pool import PoolGeometry, adaptive_pool_geometry, pool_geometry

__all__ = [
    "ConvGeometry", "DoesNotFit", "PoolGeometry", "adaptive_pool_geometry", "conv_geometry",
    "conv_transpose_geometry", "extent", "is_channels_last", "output_size", "pool_geometry", "positive",
]
