// Layouts: images (N, C, spatial...) <-> (N, spatial..., C), filters (K, C, spatial...) <-> (spatial..., C, K), for 1
// to 3 spatial axes and every dtype. The order of the axes is written as for two: N C H W, O I H W.
#pragma once
#include <string>

#include "../common/array.h"

namespace convgpu::layout {

void nchw_to_nhwc(const Array& x, const Array& y, Stream stream);
void nhwc_to_nchw(const Array& x, const Array& y, Stream stream);
void oihw_to_hwio(const Array& x, const Array& y, Stream stream);
void hwio_to_oihw(const Array& x, const Array& y, Stream stream);

// The kernel that one of these would run on arrays aligned to 16 bytes.
std::string plan(const std::string& op, const Shape& x, DType dtype);

}  // namespace convgpu::layout
