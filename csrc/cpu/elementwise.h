// Functions of single elements, sums of arrays, and functions of two operands, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays may have any strides that are
// whole elements; results must not overlap operands.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../common/functions.h"

namespace convgpu::cpu {

void activate(const Array& x, const Array& y, const elementwise::Activated<double>& by, int threads);

// gx = gy times the derivative at v: the activation's result for relu, relu6, sigmoid and tanh, else its argument.
void activate_dgrad(const Array& gy, const Array& v, const Array& gx, const elementwise::Activated<double>& by,
                    int threads);

// y = the sum of arrays of its shape, in their order.
void add_n(const std::vector<Array>& xs, const Array& y, int threads);

// y = function(a, b), where a and b broadcast to the shape of y.
void binary(const Array& a, const Array& b, const Array& y, elementwise::BinaryFunction function, int threads);

}  // namespace convgpu::cpu
