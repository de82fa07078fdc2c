// The choice of tile, cluster and splits for a product on Hopper, and what it cannot take.
#pragma once
#include <string>

#include "../common/array.h"
#include "../device/properties.h"

namespace convgpu::hopper {

// `items` products of M x N sums over K.
struct Size {
    int M, N, K, items;
};

struct Plan {
    int tile_n = 64;       // columns of a block's tile: 256, 128 or 64; it has 128 rows
    int cluster = 1;       // blocks that share loads: 2 or 1
    int splits = 1;        // of each sum
    size_t workspace = 0;  // bytes, of partial sums

    std::string text(const std::string& kernel) const;  // "kernel tile=128x256 ...", without the workspace
};

// Why a product of this dtype with sums over K runs elsewhere, in words joined by underscores; null where it need not.
// aligned: TMA takes both factors.
const char* refusal(int64_t K, DType dtype, bool aligned, const Device& device);

// For `items` products of M x N sums over K of a half type: the fastest by an estimate.
Plan plan_product(const Size& size, const Device& device, size_t workspace_limit);
Plan plan_product(int64_t M, int64_t N, int64_t K, int64_t items, const Device& device, size_t workspace_limit);

}  // namespace convgpu::hopper
