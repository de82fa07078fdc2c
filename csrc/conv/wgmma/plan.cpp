#include "plan.h"

#include <algorithm>
#include <limits>

#include "panels.h"

namespace convgpu::conv {
namespace {

// Channels along the depth of the sums, or along the rows of gw.
int64_t channels_in_lines(Direction direction, const ConvGeometry& geo) {
    return (direction == Direction::kDgrad ? geo.filters : geo.channels) / geo.groups;
}

// Whether an im2col map can tell TMA of these windows: its corners, its strides, and the reach of a tap.
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

bool windows_fit_maps(const ConvGeometry& geo, const Phases* phases) {
    if (!phases) {
        const Windows windows = windows_of(geo);
        return fit_map(windows.d, windows.h, windows.w);
    }
    const std::vector<Phases> all = single_phases(*phases);
    return std::all_of(all.begin(), all.end(), [](const Phases& phase) {
        return fit_map(phase.axis[0][0].windows, phase.axis[1][0].windows, phase.axis[2][0].windows);
    });
}

// The products, one for each phase of dgrad, as they are launched on images that 32 bits count.
std::vector<hopper::Launch> launches_of(Direction direction, const ConvGeometry& geo, const Phases* phases, DType dtype,
                                        const Options& options) {
    const hopper::Factors factors = hopper::factors_of(dtype, options.precision);
    std::vector<hopper::Launch> launches;
    const auto add = [&](const Phases* phase) {
        const Product product = product_of(direction, geo, phase, options);
        const int64_t length = length_in_lines(direction, geo, phase ? phase->most_taps() : geo.taps());
        const bool rows = direction == Direction::kWgrad;
        launches.push_back({{rows ? length : product.M, product.N, rows ? product.K : length, geo.groups, factors},
                            {product.M, product.N, product.K, geo.groups, factors}});
    };
    if (!phases) add(nullptr);
    for (const Phases& phase : phases ? single_phases(*phases) : std::vector<Phases>()) add(&phase);
    return launches;
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

hopper::ScaledFactors scaled_of(Direction direction, const ConvGeometry& geo, const Phases* phases,
                                const Options& options) {
    const auto factor = [](int64_t lines, int64_t length, bool along, int64_t ranges) {
        hopper::Factor f;
        f.lines = lines;
        f.length = f.stride = length;
        f.along = along;
        f.ranges = ranges;
        return f;
    };
    const Product product = product_of(direction, geo, phases, options);
    const int64_t pixels = geo.input_pixels(), outputs = geo.output_pixels(), channels = geo.channels / geo.groups;
    const auto scaled = [&](const hopper::Factor& a, const hopper::Factor& b) {
        return hopper::ScaledFactors(a, b, hopper::factors_of(DType::kFloat32, options.precision), geo.groups,
                                     product.M, product.N);
    };
    switch (direction) {
        case Direction::kFprop:  // images, filters
            return scaled(factor(geo.batch, pixels * geo.channels, true, geo.batch),
                          factor(geo.taps() * channels, geo.filters, false, geo.filters));
        case Direction::kDgrad:  // images; channels of each group, whose filters stand in turns
            return scaled(factor(geo.batch, outputs * geo.filters, true, geo.batch),
                          factor(geo.taps() * geo.channels, geo.filters / geo.groups, true, geo.channels));
        default:  // channels, filters
            return scaled(factor(geo.batch * pixels, geo.channels, false, geo.channels),
                          factor(geo.batch * outputs, geo.filters, false, geo.filters));
    }
}

const char* wgmma_refusal(Direction direction, const ConvGeometry& geo, const Phases* phases, DType dtype,
                          const Options& options, const Device& device, size_t workspace_limit) {
    const bool float32 = dtype == DType::kFloat32;
    if (const char* refusal = hopper::refusal(1, float32 ? DType::kFloat16 : dtype, true, device)) return refusal;
    const int64_t channels = channels_in_lines(direction, geo), length = Lines::length_of(channels);
    if (geo.channels % 8 != 0 || geo.filters % 8 != 0) return "pixels_not_at_multiples_of_16_bytes";
    if (length >= 2 * channels) return "channels_fill_half_a_line_or_less";
    if (geo.groups > 1 && length != channels && direction != Direction::kWgrad) return "groups_not_in_whole_lines";
    if (length * geo.taps() > std::numeric_limits<int32_t>::max() - 256) return "too_many_taps_and_channels";
    const Product product = product_of(direction, geo, phases, options);
    // A part would add to gw what mend() cannot take back.
    if (product.images < geo.batch && direction == Direction::kWgrad) return "more_pixels_than_32_bits_count";
    if (!windows_fit_maps(geo, phases)) return "windows_that_no_tensor_map_holds";
    if (!float32) return nullptr;
    const auto launches = launches_of(direction, geo, phases, dtype, options);
    return hopper::refusal_of_scaled(launches, scaled_of(direction, geo, phases, options), dtype, device,
                                     workspace_limit);
}

int64_t length_in_lines(Direction direction, const ConvGeometry& geo, int64_t taps) {
    return taps * Lines::length_of(channels_in_lines(direction, geo));
}

Choice plan_wgmma(Direction direction, const ConvGeometry& geo, const Phases* phases, DType dtype,
                  const Options& options, const Device& device, size_t workspace_limit) {
    const size_t of_scaled = dtype == DType::kFloat32 ? scaled_of(direction, geo, phases, options).bytes() : 0;
    Choice choice;
    for (const hopper::Launch& launch : launches_of(direction, geo, phases, dtype, options)) {
        const hopper::Plan plan = hopper::plan_product(launch.size, device, workspace_limit - of_scaled);
        if (choice.text.empty()) {
            choice.text = plan.text(std::string(name_of(direction)) + "_wgmma") + hopper::text_of(plan.factors);
        }
        choice.workspace = std::max(choice.workspace, of_scaled + plan.workspace);
    }
    if (phases) {
        choice.text += " phases=" + std::to_string(phases->count()) + (phases->complete ? "" : " after=fill_channels");
    }
    return choice;
}

}  // namespace convgpu::conv
