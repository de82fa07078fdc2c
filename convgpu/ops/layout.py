"""Changes of layout: they move the axis of channels from its place after the batch to the end, or back.

    nchw_to_nhwc, nhwc_to_nchw    images   (N, C, spatial...)  <->  (N, spatial..., C)
    oihw_to_hwio, hwio_to_oihw    filters  (K, C, spatial...)  <->  (spatial..., C, K)

Each moves every element once, and is the gradient of its inverse.
"""

from __future__ import annotations

from ..op import Op

nchw_to_nhwc = Op("nchw_to_nhwc", "x -> y", moves=True)
nhwc_to_nchw = Op("nhwc_to_nchw", "x -> y", moves=True)
oihw_to_hwio = Op("oihw_to_hwio", "w -> y", moves=True)
hwio_to_oihw = Op("hwio_to_oihw", "w -> y", moves=True)

nchw_to_nhwc.vjp(x=lambda g: nhwc_to_nchw(g))
nhwc_to_nchw.vjp(x=lambda g: nchw_to_nhwc(g))
oihw_to_hwio.vjp(w=lambda g: hwio_to_oihw(g))
hwio_to_oihw.vjp(w=lambda g: oihw_to_hwio(g))
