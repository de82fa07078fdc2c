// The launchers of ops that draw random numbers. Each reads `state`, which has three elements of 64 bits or two of 32
// (state.h), and writes the state behind the words that it takes to `next`, which lies elsewhere.
#pragma once
#include "plan.h"

namespace convgpu::random {

// y[i] = x[i] / (1 - rate), or x[i] * 0 with probability `rate`: where the upper 24 bits of word i, counted from the
// state, are less than rate * 2^24. x and y have one floating dtype and one shape.
void dropout(const Array& x, const Array& state, const Array& y, const Array& next, const Plan& plan, double rate,
             Stream stream);

// y[i] is from low to high: low + u * (high - low), where u is the upper 24 bits of word i as a fraction of 1, of
// float64 the upper 53 bits of word i of 64 bits. Product and sum are rounded each.
void uniform(const Array& state, const Array& y, const Array& next, const Plan& plan, double low, double high,
             Stream stream);

// y[i] is normally distributed: numbers i and i + 1, for even i, follow from words i and i + 1, of float64 from those
// of 64 bits (box_muller.h). Half types are computed in float32 and rounded once.
void normal(const Array& state, const Array& y, const Array& next, const Plan& plan, double mean, double std,
            Stream stream);

// y[i] is from low to low + count - 1: low plus the upper half of the product of word i of 64 bits and the count, which
// is 2^64 where `count` is 0. y is of int32 or int64.
void integers(const Array& state, const Array& y, const Array& next, const Plan& plan, int64_t low, uint64_t count,
              Stream stream);

}  // namespace convgpu::random
