// Chooses tile, cluster and splits of a product on Hopper, and gives the reason where a product cannot run there.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../device/properties.h"
#include "factors.h"

namespace convgpu::hopper {

class ScaledFactors;  // defined in scaled.h, which only files that compile kernels can include

// The size of a problem with `items` products, each of M x N sums over K terms.
struct Size {
    int64_t M, N, K, items;
    Factors factors = Factors::kHalf;
};

struct Plan {
    Factors factors = Factors::kHalf;
    int tile_n = 64;       // the columns of a block's tile, which has 128 rows: 256 (not for pairs), 128 or 64
    int cluster = 1;       // the number of blocks that share loads: 2 or 1
    int splits = 1;        // each sum is cut into so many parts, which different blocks add up
    size_t workspace = 0;  // bytes that these parts need
    double clocks = 0;     // the time that the estimate in plan.cpp gives

    // Returns for example "kernel tile=128x256 ...". The workspace is not part of the text.
    std::string text(const std::string& kernel) const;
};

// Returns why a product of half types cannot run on Hopper's tensor cores by wgmma, in words joined by underscores, or
// null if it can. `aligned` tells whether the lines of both factors begin at multiples of 16 bytes, as TMA needs it.
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
