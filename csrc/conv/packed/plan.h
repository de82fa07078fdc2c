// The choice of tile for the packed kernel of Hopper, and what it does not take.
#pragma once
#include <string>

#include "../../device/properties.h"
#include "../kernels.h"
#include "packing.h"

namespace convgpu::conv {

struct PackedPlan {
    const char* refusal = nullptr;  // why another kernel runs, in words joined by underscores
    Packing packing;
    int tile_n = 64;    // filters of a block: 128 or 64
    int resident = 1;   // blocks of a multiprocessor
    double clocks = 0;  // by the estimate

    std::string text() const;
};

// Of fprop. How x is copied depends on where it starts, and nothing else.
PackedPlan plan_packed(const ConvGeometry& geo, DType dtype, const Device& device, const void* x = nullptr);

// Of so many images.
int64_t tiles_of(const Packing& packing, const ConvGeometry& geo, int64_t images);

}  // namespace convgpu::conv
