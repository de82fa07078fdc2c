// The launchers of changes of layout, one per op. Images change between (N, C, spatial...) and (N, spatial..., C),
// filters between (K, C, spatial...) and (spatial..., C, K), for 1 to 3 spatial axes and every dtype. The names give
// the order of the axes for two spatial axes: N C H W and N H W C, O I H W and H W I O.
#pragma once
#include "plan.h"

namespace convgpu::layout {

void nchw_to_nhwc(const Array& x, const Array& y, const Plan& plan, Stream stream);
void nhwc_to_nchw(const Array& x, const Array& y, const Plan& plan, Stream stream);
void oihw_to_hwio(const Array& x, const Array& y, const Plan& plan, Stream stream);
void hwio_to_oihw(const Array& x, const Array& y, const Plan& plan, Stream stream);

}  // namespace convgpu::layout
