// The launchers of ops that draw random numbers.
#pragma once
#include "plan.h"

namespace convgpu::random {

// y[i] = x[i] / (1 - rate), or x[i] * 0 with probability `rate`: where the upper 24 bits of word i, counted from the
// state, are less than rate * 2^24. x and y have one
// floating dtype and one shape.
void dropout(const Array& x, const Array& y, const Plan& plan, const State& state, double rate, Stream stream);

}  // namespace convgpu::random
