// Chooses tile and splits of a product on any GPU. The choice depends on sizes, dtype and device alone.
#pragma once
#include <string>

#include "../common/array.h"
#include "../common/options.h"
#include "../common/workspace.h"
#include "../device/properties.h"

namespace convgpu::tile {

// Tells which factors are loaded in vectors of 16 bytes. The other ones are loaded element by element.
enum class Vectors { kBoth, kOnlyB, kNone };

struct Plan {
    bool tensor_core = false;  // whether blocks multiply by tile::TensorCore; else they multiply by tile::Simt
    int tile = 64;             // the rows, and the columns, of a block's tile: 128 or 64
    Vectors vectors = Vectors::kNone;
    int splits = 1;        // each sum is cut into so many parts, which different blocks add up
    size_t workspace = 0;  // bytes that these parts need

    // Returns for example "kernel tile=64 ...". The workspace is not part of the text.
    std::string text(const std::string& kernel) const;
};

// The plan for `items` products, each of M x N sums over K terms.
Plan plan_product(int64_t M, int64_t N, int64_t K, int64_t items, DType dtype, Precision precision, Vectors vectors,
                  const Device& device, size_t workspace_limit);

}  // namespace convgpu::tile
