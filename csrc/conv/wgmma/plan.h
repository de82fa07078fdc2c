// Tells which convolutions the kernels for Hopper's wgmma take, and chooses their tiles.
#pragma once
#include "../../hopper/plan.h"
#include "../../hopper/scaled.h"
#include "../problem/product.h"
#include "../tiled/plan.h"

namespace convgpu::conv {

// float32 runs as scaled float16 (hopper/scaled.h). Tiles for which this is not accurate enough are marked, and
// computed again.
struct ScaledPlan {
    hopper::ScaledFactors factors;  // describes arrays whose addresses are not known yet
    TiledPlan marked;               // the plan of the tiled kernel, which then computes the marked tiles
};

struct WgmmaPlan {
    Product product;  // the products of one launch; for dgrad, those of the largest phase
    std::optional<Phases> phases;
    std::vector<hopper::Plan> launches;  // for dgrad one for each phase, in the order of single_phases; else one
    std::optional<ScaledPlan> scaled;    // only for float32
    size_t workspace = 0;

    std::string text(Direction direction) const;
};

// Returns why a convolution runs on other kernels, in words joined by underscores, or null if it can run on these.
// `phases` are those of dgrad.
const char* wgmma_refusal(const Problem& problem, const std::optional<Phases>& phases, const Device& device,
                          size_t workspace_limit);

// Plans a convolution for which wgmma_refusal returned null.
WgmmaPlan plan_wgmma(const Problem& problem, const std::optional<Phases>& phases, const Device& device,
                     size_t workspace_limit);

// Returns the bytes that float32 factors take as scaled float16, with their marks.
size_t bytes_of_scaled(const Problem& problem, const std::optional<Phases>& phases);

// Returns the number of taps and channels along the depth of the sums (for wgrad, along the rows of gw), in whole lines
// of 64 for each tap.
int64_t length_in_lines(const Problem& problem, int64_t taps);

// Tells whether TMA is told of all three axes of the images. If the first of them is one pixel long, TMA need not know
// it.
bool has_volumes(const WindowAxis& d);

// Returns the same windows in the form that steps forward from tap to tap.
WindowAxis forward(const WindowAxis& axis);

// Returns each phase of dgrad by itself.
std::vector<Phases> single_phases(const Phases& phases);

}  // namespace convgpu::conv
