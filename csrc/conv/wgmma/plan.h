// What the kernels for Hopper's wgmma take of a convolution, and the choice of their tiles.
#pragma once
#include "../../hopper/plan.h"
#include "../../hopper/scaled.h"
#include "../problem/product.h"
#include "../tiled/plan.h"

namespace convgpu::conv {

// float32 runs as scaled float16 (hopper/scaled.h). Tiles that this cannot hold are marked, and computed again.
struct ScaledPlan {
    hopper::ScaledFactors factors;  // of arrays that are not known yet
    TiledPlan marked;               // of the tiled kernel that follows over the marked tiles
};

struct WgmmaPlan {
    Product product;  // of one launch; of dgrad those of the largest phase
    std::optional<Phases> phases;
    std::vector<hopper::Plan> launches;  // of dgrad one for each phase, in the order of single_phases; else one
    std::optional<ScaledPlan> scaled;    // of float32
    size_t workspace = 0;

    std::string text(Direction direction) const;
};

// Why a convolution runs on other kernels, in words joined by underscores; null if it need not. `phases`: those of
// dgrad.
const char* wgmma_refusal(const Problem& problem, const std::optional<Phases>& phases, const Device& device,
                          size_t workspace_limit);

// For what wgmma_refusal lets through.
WgmmaPlan plan_wgmma(const Problem& problem, const std::optional<Phases>& phases, const Device& device,
                     size_t workspace_limit);

// The bytes that float32 factors take as scaled float16, with their marks.
size_t bytes_of_scaled(const Problem& problem, const std::optional<Phases>& phases);

// The taps and channels along the depth of the sums (of wgrad: the rows of gw), in whole lines of 64 for each tap.
int64_t length_in_lines(const Problem& problem, int64_t taps);

// Whether TMA is told of all three axes of the images; where the first of them is one pixel long, it need not know.
bool has_volumes(const WindowAxis& d);

// The same windows, stepping forward from tap to tap.
WindowAxis forward(const WindowAxis& axis);

// Each phase of dgrad by itself.
std::vector<Phases> single_phases(const Phases& phases);

}  // namespace convgpu::conv
