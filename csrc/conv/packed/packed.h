// The launcher of the packed kernel, and the function that starts it for one dtype.
#pragma once
#include "../problem/fprop.h"
#include "plan.h"

namespace convgpu::conv {

void launch_packed(const Problem& problem, const PackedPlan& plan, const Operands& operands, Activation activation,
                   Stream stream);

// Launches the kernel once, over the given tiles. T is a half type; the instances of each are compiled in a file of
// their own (instances.h).
template <class T>
void start_packed(const Fprop<T>& p, const PackedPlan& plan, int64_t tiles, Stream stream);

}  // namespace convgpu::conv
