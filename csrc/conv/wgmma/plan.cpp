#include "plan.h"

#include <algorithm>
#include <limits>

#include "panels.h"

namespace convgpu::conv {
namespace {

// Returns the number of channels of one tap along the depth of the sums or, for wgrad, along the rows of gw.
int64_t channels_in_lines(const Problem& problem) {
    const ConvGeometry& geo = problem.geo;
    return (problem.direction == Direction::kDgrad ? geo.filters : geo.channels) / geo.groups;
}

// Tells whether an im2col map can describe these windows to TMA. The corners of the box that windows start in, their
// stride, and the distance of the last tap from the first are fields of few bits.
bool fits_map(const WindowAxis& axis, bool volumes) {
    const WindowAxis a = forward(axis);
    const int corner = volumes ? 16 : 128;
    const int64_t upper = a.first + int64_t(a.windows - 1) * a.stride - (a.pixels - 1);
    return a.first >= -corner && a.first < corner && upper >= -corner && upper < corner && a.stride <= 8 &&
           int64_t(a.taps - 1) * a.step < 2 * corner;
}

bool fit_map(const WindowAxis& d, const WindowAxis& h, const WindowAxis& w) {
    const bool volumes = has_volumes(d);
    return (!volumes || fits_map(d, true)) && fits_map(h, volumes) && fits_map(w, volumes);
}

bool windows_fit_maps(const ConvGeometry& geo, const std::optional<Phases>& phases) {
    if (!phases) {
        const Windows windows = windows_of(geo);
        return fit_map(windows.d, windows.h, windows.w);
    }
    const std::vector<Phases> all = single_phases(*phases);
    return std::all_of(all.begin(), all.end(), [](const Phases& phase) {
        return fit_map(phase.axis[0][0].windows, phase.axis[1][0].windows, phase.axis[2][0].windows);
    });
}

// Returns the products of one part of the batch as they are launched, with one launch for each phase of dgrad. `size`
// counts the depth in whole lines, as this kernel walks it. `tiled` counts the terms that exist, as the tiled kernel
// does.
std::vector<hopper::Launch> launches_of(const Problem& problem, const std::optional<Phases>& phases) {
    const hopper::Factors factors = hopper::factors_of(problem.dtype, problem.precision);
    const int64_t groups = problem.geo.groups;
    std::vector<hopper::Launch> launches;
    const auto add = [&](const Phases* phase) {
        const Product product = product_of(problem, phase);
        const int64_t length = length_in_lines(problem, phase ? phase->most_taps() : problem.geo.taps());
        const bool rows = problem.direction == Direction::kWgrad;
        launches.push_back({{rows ? length : product.M, product.N, rows ? product.K : length, groups, factors},
                            {product.M, product.N, product.K, groups, factors}});
    };
    if (!phases) add(nullptr);
    for (const Phases& phase : phases ? single_phases(*phases) : std::vector<Phases>()) add(&phase);
    return launches;
}

hopper::ScaledFactors scaled_of(const Problem& problem, const std::optional<Phases>& phases) {
    const ConvGeometry& geo = problem.geo;
    const auto factor = [](int64_t lines, int64_t length, bool along, int64_t ranges) {
        hopper::Factor f;
        f.lines = lines;
        f.length = f.stride = length;
        f.along = along;
        f.ranges = ranges;
        return f;
    };
    const Product product = product_of(problem, phases ? &*phases : nullptr);
    const int64_t pixels = geo.input_pixels(), outputs = geo.output_pixels(), channels = geo.channels / geo.groups;
    const auto scaled = [&](const hopper::Factor& a, const hopper::Factor& b) {
        return hopper::ScaledFactors(a, b, hopper::factors_of(DType::kFloat32, problem.precision), geo.groups,
                                     product.M, product.N);
    };
    switch (problem.direction) {
        case Direction::kFprop:  // one range for each image, and one for each filter
            return scaled(factor(geo.batch, pixels * geo.channels, true, geo.batch),
                          factor(geo.taps() * channels, geo.filters, false, geo.filters));
        case Direction::kDgrad:  // one for each image; one for each channel of each group, whose filters are neighbours
            return scaled(factor(geo.batch, outputs * geo.filters, true, geo.batch),
                          factor(geo.taps() * geo.channels, geo.filters / geo.groups, true, geo.channels));
        default:  // one for each channel of x, and one for each filter
            return scaled(factor(geo.batch * pixels, geo.channels, false, geo.channels),
                          factor(geo.batch * outputs, geo.filters, false, geo.filters));
    }
}

// Plans the tiled kernel that computes the marked tiles again. It runs after the factors have been multiplied, so that
// its partial sums may lie where the factors were.
TiledPlan plan_marked(const Problem& problem, const std::optional<Phases>& phases, const hopper::ScaledFactors& scaled,
                      const Device& device, size_t workspace) {
    const size_t rest = scaled.without_factors({nullptr, workspace}).bytes;
    Product product = product_of(problem, phases ? &*phases : nullptr);
    product.items = problem.geo.groups;
    TiledPlan plan = plan_tiled(problem, phases, product, device, std::min(rest, kWorkspaceLimit));
    plan.phases_at_once = 1;  // the marks were made in launches of one phase each
    return plan;
}

}  // namespace

bool has_volumes(const WindowAxis& d) { return d.pixels > 1 || d.windows > 1 || d.taps > 1 || d.first != 0; }

WindowAxis forward(const WindowAxis& a) {
    if (a.step > 0) return a;
    return {a.pixels, a.windows, a.taps, a.first + (a.taps - 1) * a.step, a.stride, -a.step};
}

std::vector<Phases> single_phases(const Phases& phases) {
    std::vector<Phases> singles;
    for (const AxisPhase& d : phases.axis[0]) {
        for (const AxisPhase& h : phases.axis[1]) {
            for (const AxisPhase& w : phases.axis[2]) {
                Phases single = phases;
                single.axis = {std::vector{d}, std::vector{h}, std::vector{w}};
                singles.push_back(single);
            }
        }
    }
    return singles;
}

size_t bytes_of_scaled(const Problem& problem, const std::optional<Phases>& phases) {
    return scaled_of(problem, phases).bytes();
}

int64_t length_in_lines(const Problem& problem, int64_t taps) {
    return taps * Lines::length_of(channels_in_lines(problem));
}

const char* wgmma_refusal(const Problem& problem, const std::optional<Phases>& phases, const Device& device,
                          size_t workspace_limit) {
    const ConvGeometry& geo = problem.geo;
    const bool float32 = problem.dtype == DType::kFloat32;
    if (const char* refusal = hopper::refusal(1, float32 ? DType::kFloat16 : problem.dtype, true, device)) {
        return refusal;
    }
    const int64_t channels = channels_in_lines(problem), length = Lines::length_of(channels);
    if (geo.channels % 8 != 0 || geo.filters % 8 != 0) return "pixels_not_at_multiples_of_16_bytes";
    if (length >= 2 * channels) return "channels_fill_half_a_line_or_less";
    if (geo.groups > 1 && length != channels && problem.direction != Direction::kWgrad) {
        return "groups_not_in_whole_lines";
    }
    if (length * geo.taps() > std::numeric_limits<int32_t>::max() - 256) return "too_many_taps_and_channels";
    const Product product = product_of(problem, phases ? &*phases : nullptr);
    // A second part of the batch would be added to gw. mend() computes a NaN that padding has caused again, but from
    // this part alone, so that it would overwrite what the first part has put there.
    if (product.images < geo.batch && problem.direction == Direction::kWgrad) return "more_pixels_than_32_bits_count";
    if (!windows_fit_maps(geo, phases)) return "windows_that_no_tensor_map_holds";
    if (!float32) return nullptr;
    return hopper::refusal_of_scaled(launches_of(problem, phases), scaled_of(problem, phases), problem.dtype, device,
                                     workspace_limit);
}

WgmmaPlan plan_wgmma(const Problem& problem, const std::optional<Phases>& phases, const Device& device,
                     size_t workspace_limit) {
    WgmmaPlan plan;
    plan.product = product_of(problem, phases ? &*phases : nullptr);
    plan.phases = phases;
    std::optional<hopper::ScaledFactors> scaled;
    if (problem.dtype == DType::kFloat32) scaled = scaled_of(problem, phases);
    const size_t of_scaled = scaled ? scaled->bytes() : 0;
    for (const hopper::Launch& launch : launches_of(problem, phases)) {
        plan.launches.push_back(hopper::plan_product(launch.size, device, workspace_limit - of_scaled));
        plan.workspace = std::max(plan.workspace, of_scaled + plan.launches.back().workspace);
    }
    if (scaled) plan.scaled = {*scaled, plan_marked(problem, phases, *scaled, device, plan.workspace)};
    return plan;
}

std::string WgmmaPlan::text(Direction direction) const {
    return launches[0].text(std::string(name_of(direction)) + "_wgmma") + hopper::text_of(launches[0].factors) +
           phases_text(phases);
}

}  // namespace convgpu::conv
