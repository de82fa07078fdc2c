// Ops that draw random numbers, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays have no gaps; results must not
// overlap operands.
#pragma once
#include "../common/array.h"
#include "calls/random.h"

namespace convgpu::cpu {

// y[i] = x[i] * (kept ? scale : 0); word i % 4 of block i / 4 behind the state decides on element i.
void dropout(const Array& x, const Array& y, const RandomState& state, uint32_t threshold, double scale, int threads);

}  // namespace convgpu::cpu
