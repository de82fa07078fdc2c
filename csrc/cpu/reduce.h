// Reductions over axes, as the binding calls them.
#pragma once
#include "../common/array.h"
#include "calls/reduce.h"

namespace convgpu::cpu {

Reduction reduction_of(const std::string& name);  // throws std::invalid_argument

// x has four axes, of which the first and the third are reduced: y has the other two. Both lie without gaps, and no
// axis is empty. The kernels are those of the instruction set in use.
void reduce(const Array& x, const Array& y, Reduction function, int threads);

}  // namespace convgpu::cpu
