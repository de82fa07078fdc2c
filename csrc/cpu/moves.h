// Copies into another layout, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays may have any strides that are
// whole elements; results must not overlap operands.
#pragma once
#include "../common/array.h"

namespace convgpu::cpu {

// y[i, j, k] = x[i, k, j], for three axes and elements of any dtype.
void swap_last_axes(const Array& x, const Array& y, int threads);

}  // namespace convgpu::cpu
