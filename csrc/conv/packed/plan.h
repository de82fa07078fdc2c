// Tells which convolutions the packed kernel for Hopper takes, and chooses its tile.
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
    int resident = 1;    // blocks that a multiprocessor holds
    double clocks = 0;   // the time that the estimate gives
    int64_t images = 0;  // images of one launch
    int blocks = 1;      // blocks that run at the same time over the tiles of the same filters

    std::string text() const;
};

// Plans fprop. How x is copied depends on the address where it starts, but nothing else does.
PackedPlan plan_packed(const Problem& problem, const Device& device);

// Returns how many tiles `images` images have.
int64_t tiles_of(const Packing& packing, const ConvGeometry& geo, int64_t images);

}  // namespace convgpu::conv
