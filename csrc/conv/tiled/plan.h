// Plans the tiled kernels, which take any geometry on any GPU: it chooses their tile, vectors and splits.
#pragma once
#include <optional>
#include <string>

#include "../../tile/plan.h"
#include "../problem/product.h"

namespace convgpu::conv {

struct TiledPlan {
    Product product;                     // the products of one launch
    std::optional<Phases> phases;        // only for dgrad
    int phases_at_once = kPhasesAtOnce;  // so many phases of each axis run in one launch
    tile::Plan tile;
    // The reasons why faster kernels do not take the problem, in words joined by underscores.
    const char *no_wgmma = nullptr, *no_packed = nullptr;

    std::string text(Direction direction) const;
};

TiledPlan plan_tiled(const Problem& problem, const std::optional<Phases>& phases, const Product& product,
                     const Device& device, size_t workspace_limit);

// Returns the words that `explain` adds to the plans of dgrad.
std::string phases_text(const std::optional<Phases>& phases);

}  // namespace convgpu::conv
