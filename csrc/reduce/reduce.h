// The launcher of reductions over axes: sums, means and extremes. y has the shape of x without the axes, or with ones
// in their place.
#pragma once
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::reduce {

void reduce(const Array& x, const Array& y, const Plan& plan, const Workspace& workspace, Stream stream);

}  // namespace convgpu::reduce
