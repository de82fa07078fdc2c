// The choice of tile and of splits for a product: by its sizes and the device alone.
#pragma once
#include <string>

#include "../common/array.h"
#include "../common/precision.h"
#include "../common/workspace.h"
#include "../device/properties.h"

namespace convgpu::tile {

// How vectors are loaded: of both factors, of b alone, or none.
enum class Vectors { kBoth, kOnlyB, kNone };

struct Plan {
    bool tensor_core = false;
    int tile = 64;  // rows and columns of a block's tile: 128 or 64
    Vectors vectors = Vectors::kNone;
    int splits = 1;        // of each sum
    size_t workspace = 0;  // bytes, of partial sums

    std::string text(const std::string& kernel) const;  // "kernel tile=64 ...", without the workspace
};

// For `items` products of M x N sums over K.
Plan plan_product(int64_t M, int64_t N, int64_t K, int64_t items, DType dtype, Precision precision, Vectors vectors,
                  const Device& device, size_t workspace_limit);

}  // namespace convgpu::tile
