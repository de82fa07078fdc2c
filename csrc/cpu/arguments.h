// Checks of arguments, and the views that kernels take.
#pragma once
#include "../common/array.h"
#include "../common/geometry.h"
#include "kernels.h"

namespace convgpu::cpu {

// Throws unless the array has this dtype and shape, its address suits the dtype, and its strides are whole elements.
void check_view(const char* op, const char* name, const Array& array, const Shape& shape, DType dtype);

// Images (N, spatial..., C) or (N, C, spatial...), of 1 to 3 spatial axes.
Images images_of(const Array& array, bool channels_last);

// Filters (spatial..., C/groups, K) or (K, C/groups, spatial...).
Filters filters_of(const Array& array, bool channels_last);

// A stack of matrices (items, rows, columns).
Matrices matrices_of(const Array& array);

}  // namespace convgpu::cpu
