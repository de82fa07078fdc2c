// How many kernels a product on Hopper starts.
#pragma once
#include "plan.h"

namespace convgpu::hopper {

// Float32 factors are scaled by three kernels (ScaledFactors::fill): one clears ranges and marks, one finds the largest
// element of every range, and one writes the halves.
constexpr int64_t kLaunchesOfScaling = 3;

// A second kernel adds the parts of sums that are split.
inline int64_t launches_of(const Plan& plan) { return plan.splits > 1 ? 2 : 1; }

}  // namespace convgpu::hopper
