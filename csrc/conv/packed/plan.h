// What the packed kernel for Hopper takes of a convolution, and the choice of its tile.
#pragma once
#include <string>

#include "../../device/properties.h"
#include "../problem/problem.h"
#include "packing.h"

namespace convgpu::conv {

struct PackedPlan {
    const char* refusal = nullptr;  // why another kernel runs, in words joined by underscores
    Packing packing;
    int tile_n = 64;     // filters of a block: 128 or 64
    int resident = 1;    // blocks of a multiprocessor
    double clocks = 0;   // by the estimate
    int64_t images = 0;  // of one launch
    int blocks = 1;      // that run at the same time over the tiles of the same filters

    std::string text() const;
};

// Of fprop. How x is copied depends on where it starts, and nothing else does.
PackedPlan plan_packed(const Problem& problem, const Device& device);

// How many tiles so many images have.
int64_t tiles_of(const Packing& packing, const ConvGeometry& geo, int64_t images);

}  // namespace convgpu::conv
