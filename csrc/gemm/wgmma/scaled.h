// Describes the float32 factors of a matrix product for their conversion to scaled float16 (hopper/scaled.h).
#pragma once
#include "../../hopper/scaled.h"
#include "../plan.h"

namespace convgpu::gemm {

// Returns the factors without their addresses, which `place` sets.
inline hopper::ScaledFactors scaled_of(const Sizes& s, const Options& options) {
    const auto factor = [](int64_t items, int64_t rows, int64_t depth, bool along_depth) {
        hopper::Factor f;
        f.items = items;
        f.lines = along_depth ? rows : depth;
        f.length = along_depth ? depth : rows;
        f.along = along_depth;
        f.ranges = items * rows;
        return f;
    };
    return {factor(s.one_a ? 1 : s.items, s.M, s.K, !options.trans_a),
            factor(s.one_b ? 1 : s.items, s.N, s.K, options.trans_b),
            hopper::factors_of(DType::kFloat32, options.precision),
            s.items,
            s.M,
            s.N};
}

}  // namespace convgpu::gemm
