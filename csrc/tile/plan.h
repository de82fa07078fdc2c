// The choice of tile and of splits for a product on any GPU: by its sizes, its dtype and the device alone.
#pragma once
#include <string>

#include "../common/array.h"
#include "../common/precision.h"
#include "../common/workspace.h"
#include "../device/properties.h"

namespace convgpu::tile {

// Which factors are loaded in vectors of 16 bytes: both, b alone, or none; the others are loaded element by element.
enum class Vectors { kBoth, kOnlyB, kNone };

struct Plan {
    bool tensor_core = false;  // blocks multiply by tile::TensorCore, else by tile::Simt
    int tile = 64;             // rows and columns of a block's tile: 128 or 64
    Vectors vectors = Vectors::kNone;
    int splits = 1;        // parts into which each sum is cut, for different blocks to add up
    size_t workspace = 0;  // bytes that these parts take

    std::string text(const std::string& kernel) const;  // "kernel tile=64 ...", without the workspace
};

// The plan for `items` products, each of M x N sums over K terms.
Plan plan_product(int64_t M, int64_t N, int64_t K, int64_t items, DType dtype, Precision precision, Vectors vectors,
                  const Device& device, size_t workspace_limit);

}  // namespace convgpu::tile
