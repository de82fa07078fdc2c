// The choice of tile, cluster and splits for a product on Hopper, and what it cannot take.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../device/properties.h"
#include "factors.h"

namespace convgpu::hopper {

class ScaledFactors;  // in scaled.h, which only those that compile kernels can include

// `items` products of M x N sums over K.
struct Size {
    int64_t M, N, K, items;
    Factors factors = Factors::kHalf;
};

struct Plan {
    Factors factors = Factors::kHalf;
    int tile_n = 64;       // columns of a block's tile: 256 (not of pairs), 128 or 64; it has 128 rows
    int cluster = 1;       // blocks that share loads: 2 or 1
    int splits = 1;        // of each sum
    size_t workspace = 0;  // bytes, of partial sums
    double clocks = 0;     // by the estimate

    std::string text(const std::string& kernel) const;  // "kernel tile=128x256 ...", without the workspace
};

// Why a product of half types runs elsewhere, in words joined by underscores; null where it need not. aligned: TMA
// takes both factors.
const char* refusal(int64_t K, DType dtype, bool aligned, const Device& device);

// One launch of a product: as it is here, and as the tiled kernel has it, without what fills lines.
struct Launch {
    Size size, tiled;
};

// The same of float32, as scaled float16, in one launch or several.
const char* refusal_of_scaled(const std::vector<Launch>& launches, const ScaledFactors& scaled, DType dtype,
                              const Device& device, size_t workspace_limit);

// What stands in explain for them: "" for half types.
std::string text_of(Factors factors);

// The fastest by an estimate.
Plan plan_product(const Size& size, const Device& device, size_t workspace_limit);

}  // namespace convgpu::hopper
