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

// The numbers of csrc/random/random.h, with the same bits: uniform ones from low to low + span, normal ones, and
// integers of int32 or int64 from low to low + count - 1, where a count of 0 stands for 2^64.
void uniform(const Array& y, const RandomState& state, double low, double span, int threads);
void normal(const Array& y, const RandomState& state, double mean, double std, int threads);
void integers(const Array& y, const RandomState& state, uint64_t low, uint64_t count, int threads);

}  // namespace convgpu::cpu
