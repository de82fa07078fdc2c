// What the tiled kernels take of a convolution: any geometry, on any GPU. The choice of their tile, vectors and splits.
#pragma once
#include <optional>
#include <string>

#include "../../tile/plan.h"
#include "../problem/product.h"

namespace convgpu::conv {

struct TiledPlan {
    Product product;                     // of one launch
    std::optional<Phases> phases;        // of dgrad
    int phases_at_once = kPhasesAtOnce;  // of an axis, in one launch
    tile::Plan tile;
    const char *no_wgmma = nullptr, *no_packed = nullptr;  // why faster kernels do not take it, joined by underscores

    std::string text(Direction direction) const;
};

TiledPlan plan_tiled(const Problem& problem, const std::optional<Phases>& phases, const Product& product,
                     const Device& device, size_t workspace_limit);

// What `explain` adds to the plans of dgrad.
std::string phases_text(const std::optional<Phases>& phases);

}  // namespace convgpu::conv
