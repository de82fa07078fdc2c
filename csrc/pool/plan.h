// Which kernel computes a pooling, and how. A plan follows from op, geometry, dtype and alignment alone; it is made
// once, and the launchers in pool.h do what it says.
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
    kDisjoint,  // of max_pool_dgrad: a thread writes all pixels of one window, where no two windows overlap
    kGather,    // a thread collects what belongs to its own pixel
};

// Threads of a block along vectors of channels (x), taps of a window (y) and outputs (z): powers of two, whose product
// is the number of threads.
struct Lanes {
    int x, y, z;
};

struct Plan {
    Op op;
    PoolGeometry geo;
    DType dtype;  // of what the op computes: int64 for max_pool_indices
    Kernel kernel = Kernel::kGather;
    int vector = 1;           // channels of a thread, which it loads and stores in one access
    int side = 0;             // of a square window whose loops are unrolled; 0: any window
    Lanes lanes = {0, 0, 0};  // of kSplit

    std::string text() const;  // "kernel key=value ...", as explain prints it
};

// `alignment`: a power of two that divides the addresses of all arrays, but for the x of max_pool_gather. Throws where
// the geometry would leave the arrays.
Plan plan(Op op, const PoolGeometry& geo, DType dtype, int alignment);

}  // namespace convgpu::pool
