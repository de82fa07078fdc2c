// Changes of layout: the launchers, one per op. Images (N, C, spatial...) <-> (N, spatial..., C), filters (K, C,
// spatial...) <-> (spatial..., C, K), for 1 to 3 spatial axes and every dtype. The names write the order of the axes as
// for two: N C H W, O I H W.
#pragma once
#include "plan.h"

namespace convgpu::layout {

void nchw_to_nhwc(const Array& x, const Array& y, const Plan& plan, Stream stream);
void nhwc_to_nchw(const Array& x, const Array& y, const Plan& plan, Stream stream);
void oihw_to_hwio(const Array& x, const Array& y, const Plan& plan, Stream stream);
void hwio_to_oihw(const Array& x, const Array& y, const Plan& plan, Stream stream);

}  // namespace convgpu::layout
