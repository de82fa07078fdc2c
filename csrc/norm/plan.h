// A plan says which kernels normalise, and how. It depends on op, geometry, dtype, options, alignment, device and the
// limit on workspace. It is made once, and the launchers in norm.h do what it says.
#pragma once
#include <array>
#include <string>

#include "../common/array.h"
#include "../device/properties.h"
#include "geometry.h"

namespace convgpu::norm {

enum class Op { kStats, kApply, kApplyAdd, kInfer, kDgrad, kFold };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

enum class Kernel {
    kRows,    // threads own channels, which are neighbours in memory
    kRuns,    // only norm_stats: threads share the runs that have one mean
    kPlanes,  // threads own elements of one channel
    kLines,   // only norm_dgrad: threads share a line, which is all that has one mean
};

// Which results of norm_dgrad are wanted: the gradients of x, scale, offset, residual.
using Wanted = std::array<bool, 4>;

struct Plan {
    Op op;
    NormGeometry geo;
    DType dtype;
    Wanted wanted = {};
    Kernel kernel = Kernel::kRows;
    int vector = 1;        // elements that a thread loads in one access
    int lanes = 1;         // threads of a block along channels or along a run, a power of 2
    int parts = 1;         // parts of each sum
    bool gathers = false;  // whether blocks leave their sums in the workspace for the last one
    size_t workspace = 0;

    bool sums() const;         // norm_dgrad: whether sums over channels are computed
    bool elements() const;     // norm_dgrad: whether a kernel computes gradients of x's size, apart from the sums
    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. `alignment` is a power of two that divides the addresses of all arrays of x's size. `wanted` matters
// for norm_dgrad alone. The workspace is at most `limit` bytes, or as little as the kernels can do with.
Plan plan(Op op, const NormGeometry& geo, DType dtype, const Wanted& wanted, int alignment, const Device& device,
          size_t limit);

}  // namespace convgpu::norm
