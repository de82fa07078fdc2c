// A plan says which kernel computes a pooling, and how. It depends on op, geometry, dtype and alignment alone. It is
// made once, and the launchers in pool.h do what it says.
#pragma once
#include <string>

#include "../common/geometry.h"

namespace convgpu::pool {

enum class Op {
    kMaxPool,
    kMaxPoolDgrad,
    kMaxPoolGather,
    kMaxPoolIndices,
    kAvgPool,
    kAvgPoolDgrad,
    kLpPool,
    kLpPoolDgrad,
    kLpPoolGather
};

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

enum class Kernel {
    kWindow,    // a thread walks one window
    kSplit,     // the threads of a block share each window
    kDisjoint,  // only max_pool_dgrad: a thread writes all pixels of one window, where no two windows overlap
    kGather,    // a thread collects what belongs to its own pixel
};

// The threads of a block: x of them along vectors of channels, y along the taps of a window, and z along outputs. These
// are powers of two, and their product is the number of threads.
struct Lanes {
    int x, y, z;
};

struct Plan {
    Op op;
    PoolGeometry geo;
    DType dtype;  // of the result: int64 for max_pool_indices
    Kernel kernel = Kernel::kGather;
    int vector = 1;           // channels of a thread, which it loads and stores in one access
    int side = 0;             // the side of a square window whose loops are unrolled; 0 means any window
    Lanes lanes = {0, 0, 0};  // only for kSplit

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. `alignment` is a power of two that divides the addresses of all arrays, except the x of
// max_pool_gather. Throws if the geometry would read or write beyond the arrays.
Plan plan(Op op, const PoolGeometry& geo, DType dtype, int alignment);

}  // namespace convgpu::pool
