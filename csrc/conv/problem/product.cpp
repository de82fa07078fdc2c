#include "product.h"

#include <stdexcept>

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

Product product_of(const Problem& problem, const Phases* phases) {
    const ConvGeometry& geo = problem.geo;
    const char* op = name_of(problem.direction);
    const int64_t channels = geo.channels / geo.groups, filters = geo.filters / geo.groups;
    const int64_t pixels = phases ? phases->most_pixels() : geo.output_pixels();
    const int64_t terms = phases ? phases->most_taps() * filters : geo.taps() * channels;
    require_at_most(op, problem.pixels_at_once, "pixels of an image", pixels);
    require_at_most(op, kPixelsAtOnce, phases ? "taps times filters of a group" : "taps times channels of a group",
                    terms);
    const int64_t images = std::min(geo.batch, problem.pixels_at_once / std::max<int64_t>(pixels, 1));
    switch (problem.direction) {
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

std::optional<Phases> phases_of(const Problem& problem) {
    return problem.direction == Direction::kDgrad ? std::optional<Phases>(Phases(problem.geo)) : std::nullopt;
}

}  // namespace convgpu::conv
