// Which kernel computes a pooling, and how: decided by geometry, dtype and alignment alone.
#pragma once
#include <cstddef>

#include "../common/geometry.h"
#include "split.h"

namespace convgpu::pool {

enum class Kernel { kWindow, kSplit, kGather, kDisjoint };

struct Plan {
    Kernel kernel;
    int vector;               // channels of a thread
    int side = 0;             // of a window whose loops are unrolled; 0: any window
    Lanes lanes = {0, 0, 0};  // of a split window
};

// `aligned`: all arrays start at multiples of 16 bytes.
Plan plan_forward(const PoolGeometry& geo, DType dtype, bool aligned);    // max_pool, avg_pool
Plan plan_max_dgrad(const PoolGeometry& geo, DType dtype, bool aligned);  // max_pool_dgrad
Plan plan_places(const PoolGeometry& geo, DType dtype, bool aligned);     // all others

}  // namespace convgpu::pool
