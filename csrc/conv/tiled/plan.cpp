#include "plan.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "conv_dgrad_tiled.cuh"
#include "../packed/plan.h"
#include "../wgmma/plan.h"

namespace convgpu::conv {
namespace {

void require_at_most(const char* op, int64_t most, const std::string& what, int64_t got) {
    if (got <= most) return;
    throw std::invalid_argument(std::string(op) + ": expected at most " + std::to_string(most) + " " + what + ", got " +
                                std::to_string(got));
}

int64_t phases_at_once(const std::vector<AxisPhase>& axis) {
    return std::min<int64_t>(static_cast<int64_t>(axis.size()), kPhasesAtOnce);
}

}  // namespace

Product product_of(Direction direction, const ConvGeometry& geo, const Phases* phases, const Options& options) {
    const char* op = name_of(direction);
    const int64_t channels = geo.channels / geo.groups, filters = geo.filters / geo.groups;
    const int64_t pixels = phases ? phases->most_pixels() : geo.output_pixels();
    const int64_t terms = phases ? phases->most_taps() * filters : geo.taps() * channels;
    require_at_most(op, options.pixels_at_once, "pixels of an image", pixels);
    require_at_most(op, Options{}.pixels_at_once,
                    phases ? "taps times filters of a group" : "taps times channels of a group", terms);
    const int64_t images = std::min(geo.batch, options.pixels_at_once / std::max<int64_t>(pixels, 1));
    switch (direction) {
        case Direction::kFprop:
            return {images * pixels, filters, terms, geo.groups, images};
        case Direction::kWgrad:
            return {terms, filters, images * pixels, geo.groups, images};
        default:
            const int64_t at_once =
                phases_at_once(phases->axis[0]) * phases_at_once(phases->axis[1]) * phases_at_once(phases->axis[2]);
            return {images * pixels, channels, terms, geo.groups * at_once, images};
    }
}

tile::Vectors vectors_of(Direction direction, const ConvGeometry& geo, DType dtype) {
    const auto V = static_cast<int64_t>(kVectorBytes / size_of(dtype));
    if (geo.filters / geo.groups % V != 0) return tile::Vectors::kNone;
    const bool both = direction == Direction::kDgrad || geo.channels / geo.groups % V == 0;
    return both ? tile::Vectors::kBoth : tile::Vectors::kOnlyB;
}

tile::Plan plan_of(const Product& product, DType dtype, const Options& options, tile::Vectors vectors,
                   const Device& device, size_t workspace_limit) {
    return tile::plan_product(product.M, product.N, product.K, product.items, dtype, options.precision, vectors, device,
                              workspace_limit);
}

size_t default_limit(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                     const Device& device) {
    const Phases* phases = nullptr;
    std::optional<Phases> of_dgrad;
    if (direction == Direction::kDgrad) phases = &of_dgrad.emplace(geo);
    if (dtype != DType::kFloat32 || (phases && phases->empty())) return kWorkspaceLimit;
    const size_t with_scaled = kWorkspaceLimit + scaled_of(direction, geo, phases, options).bytes();
    return wgmma_refusal(direction, geo, phases, dtype, options, device, with_scaled) ? kWorkspaceLimit : with_scaled;
}

Choice plan_tiled(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                  const Device& device, size_t workspace_limit) {
    const std::string kernel = std::string(name_of(direction)) + "_tiled";
    const Phases* phases = nullptr;
    std::optional<Phases> of_dgrad;
    if (direction == Direction::kDgrad) phases = &of_dgrad.emplace(geo);
    if (phases && phases->empty()) return {"fill_channels", 0};
    const char* refusal = wgmma_refusal(direction, geo, phases, dtype, options, device, workspace_limit);
    if (!refusal) return plan_wgmma(direction, geo, phases, dtype, options, device, workspace_limit);
    const Product product = product_of(direction, geo, phases, options);
    const char* unpacked = nullptr;
    if (direction == Direction::kFprop && !hopper::refusal(1, dtype, true, device)) {
        const PackedPlan packed = plan_packed(geo, dtype, device);
        if (!packed.refusal) return {packed.text()};
        unpacked = packed.refusal;
    }
    const tile::Plan plan =
        plan_of(product, dtype, options, vectors_of(direction, geo, dtype), device, workspace_limit);
    std::string text = plan.text(kernel);
    if (phases) {
        text += " phases=" + std::to_string(phases->count()) + (phases->complete ? "" : " after=fill_channels");
    }
    text += std::string(" no_wgmma=") + refusal;
    if (unpacked) text += std::string(" no_packed=") + unpacked;
    return {text, plan.workspace};
}

}  // namespace convgpu::conv
