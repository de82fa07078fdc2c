// The choice of tile, cluster and splits for a product on Hopper, and the reasons why a product runs elsewhere.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../device/properties.h"
#include "factors.h"

namespace convgpu::hopper {

class ScaledFactors;  // in scaled.h, which only those that compile kernels can include

// The size of a problem: `items` products, each of M x N sums over K terms.
struct Size {
    int64_t M, N, K, items;
    Factors factors = Factors::kHalf;
};

struct Plan {
    Factors factors = Factors::kHalf;
    int tile_n = 64;       // columns of a block's tile: 256 (not of pairs), 128 or 64; it has 128 rows
    int cluster = 1;       // blocks that share loads: 2 or 1
    int splits = 1;        // parts into which each sum is cut, for different blocks to add up
    size_t workspace = 0;  // bytes that these parts take
    double clocks = 0;     // how long the estimate in plan.cpp says that it takes

    std::string text(const std::string& kernel) const;  // "kernel tile=128x256 ...", without the workspace
};

// Why a product of half types cannot run on Hopper's tensor cores by wgmma, in words joined by underscores; null where
// it can. `aligned` says that the lines of both factors begin at multiples of 16 bytes, as TMA needs them.
const char* refusal(int64_t K, DType dtype, bool aligned, const Device& device);

// One launch of a product: its size here, and its size for the tiled kernel, which has no filled lines to multiply.
struct Launch {
    Size size, tiled;
};

// The same for a product of float32 as scaled float16, which one launch computes, or several.
const char* refusal_of_scaled(const std::vector<Launch>& launches, const ScaledFactors& scaled, DType dtype,
                              const Device& device, size_t workspace_limit);

// The words of a plan's text that name the factors; none for half types.
std::string text_of(Factors factors);

// The plan that the estimate says is the fastest.
Plan plan_product(const Size& size, const Device& device, size_t workspace_limit);

}  // namespace convgpu::hopper
