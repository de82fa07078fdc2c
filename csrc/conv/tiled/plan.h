// The choice of tile, vectors and splits for a convolution as a matrix product.
#pragma once
#include "../../tile/plan.h"
#include "../kernels.h"
#include "../problem/phases.h"

namespace convgpu::conv {

// The products of one launch: `items` of M x N sums over K. Where they have pixels, those of at most `images` images.
struct Product {
    int64_t M, N, K, items, images;
};

// Throws std::invalid_argument where a size does not fit into 32 bits. `phases`: those of dgrad, else null.
Product product_of(Direction direction, const ConvGeometry& geo, const Phases* phases, const Options& options);

// How vectors may be loaded, if all arrays are aligned to them.
tile::Vectors vectors_of(Direction direction, const ConvGeometry& geo, DType dtype);

tile::Plan plan_of(const Product& product, DType dtype, const Options& options, tile::Vectors vectors,
                   const Device& device, size_t workspace_limit);

}  // namespace convgpu::conv
