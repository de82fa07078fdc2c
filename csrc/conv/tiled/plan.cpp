#include "plan.h"

namespace convgpu::conv {
namespace {

// Tells how factors are loaded: in vectors of 16 bytes if the number of neighbours along a line is a multiple of such a
// vector, else one by one.
tile::Vectors vectors_of(const Problem& problem) {
    const ConvGeometry& geo = problem.geo;
    const auto V = static_cast<int64_t>(kFullAlignment / size_of(problem.dtype));
    if (!problem.aligned() || geo.filters / geo.groups % V != 0) return tile::Vectors::kNone;
    const bool both = problem.direction == Direction::kDgrad || geo.channels / geo.groups % V == 0;
    return both ? tile::Vectors::kBoth : tile::Vectors::kOnlyB;
}

}  // namespace

TiledPlan plan_tiled(const Problem& problem, const std::optional<Phases>& phases, const Product& product,
                     const Device& device, size_t workspace_limit) {
    TiledPlan plan;
    plan.product = product;
    plan.phases = phases;
    plan.tile = tile::plan_product(product.M, product.N, product.K, product.items, problem.dtype, problem.precision,
                                   vectors_of(problem), device, workspace_limit);
    return plan;
}

std::string phases_text(const std::optional<Phases>& phases) {
    if (!phases) return "";
    return " phases=" + std::to_string(phases->count()) + (phases->complete ? "" : " after=fill_channels");
}

std::string TiledPlan::text(Direction direction) const {
    std::string text = tile.text(std::string(name_of(direction)) + "_tiled") + phases_text(phases);
    if (no_wgmma) text += std::string(" no_wgmma=") + no_wgmma;
    if (no_packed) text += std::string(" no_packed=") + no_packed;
    return text;
}

}  // namespace convgpu::conv
