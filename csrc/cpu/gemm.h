// Products of matrices, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays may have any strides that are
// whole elements; results must not overlap operands.
#pragma once
#include "../common/array.h"
#include "../common/options.h"

namespace convgpu::cpu {

// Stacks of matrices: a (items, M, K), b (items, K, N), y (items, M, N). c, if it is there, has the shape of y. An item
// of a or b that is repeated has a stride of 0.
void gemm(const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta,
          Activation activation, int threads);

}  // namespace convgpu::cpu
