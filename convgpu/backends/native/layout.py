"""Changes of layout."""

from __future__ import annotations

from .crossing import Array, Crossing


class Layout(Crossing):
    """Transposes between the layouts of images and filters."""

    def nchw_to_nhwc(self, x: Array) -> Array:
        """Images (N, C, spatial...) as (N, spatial..., C)."""
        return self._launch_layout("nchw_to_nhwc", x, (x.shape[0], *x.shape[2:], x.shape[1]))

    def nhwc_to_nchw(self, x: Array) -> Array:
        """Images (N, spatial..., C) as (N, C, spatial...)."""
        return self._launch_layout("nhwc_to_nchw", x, (x.shape[0], x.shape[-1], *x.shape[1:-1]))

    def oihw_to_hwio(self, w: Array) -> Array:
        """Filters (K, C, spatial...) as (spatial..., C, K)."""
        return self._launch_layout("oihw_to_hwio", w, (*w.shape[2:], w.shape[1], w.shape[0]))

    def hwio_to_oihw(self, w: Array) -> Array:
        """Filters (spatial..., C, K) as (K, C, spatial...)."""
        return self._launch_layout("hwio_to_oihw", w, (w.shape[-1], w.shape[-2], *w.shape[:-2]))

    def _launch_layout(self, name: str, x: Array, shape: tuple[int, ...]) -> Array:
        y = self.empty(shape, x.dtype)
        self.launch(name, (x, y), "plan_layout", (name, x.shape, x.dtype), takes_workspace=False)
        return y
