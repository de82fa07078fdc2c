#include "phases.h"

#include <algorithm>
#include <numeric>

namespace convgpu::conv {
namespace {

// Returns the phases of one axis. `all` becomes false if one of the axis' pixels is in none of them.
std::vector<AxisPhase> phases_of(const Axis& a, bool& all) {
    const int common = std::gcd(a.stride, a.dilation), tap_step = a.stride / common;
    std::vector<AxisPhase> phases;
    int64_t held = 0;
    for (int tap = 0; tap < std::min(a.taps, tap_step); ++tap) {  // a phase begins at each of these taps
        const int64_t reach = int64_t(tap) * a.dilation - a.before;
        const auto pixel = static_cast<int>((reach % a.stride + a.stride) % a.stride);
        if (pixel >= a.pixels) continue;
        const int pixels = (a.pixels - pixel - 1) / a.stride + 1, taps = (a.taps - tap - 1) / tap_step + 1;
        const auto first = static_cast<int>((pixel - reach) / a.stride);
        phases.push_back(
            {{a.outputs, pixels, taps, first, 1, -(a.dilation / common)}, pixel, a.stride, tap, tap_step, a.taps});
        held += pixels;
    }
    all = all && held == a.pixels;
    return phases;
}

template <class Of>
int64_t product_of_most(const Phases& phases, Of of) {
    int64_t product = 1;
    for (const auto& axis : phases.axis) {
        int64_t most = 0;
        for (const AxisPhase& phase : axis) most = std::max<int64_t>(most, of(phase));
        product *= most;
    }
    return product;
}

}  // namespace

Phases::Phases(const ConvGeometry& geo) {
    for (int a = 0; a < kAxes; ++a) axis[a] = phases_of(axis_of(geo, a), complete);
}

bool Phases::empty() const { return count() == 0; }

bool Phases::has_holes() const {
    for (const auto& phases : axis) {
        for (const AxisPhase& phase : phases) {
            if (phase.windows.has_holes()) return true;
        }
    }
    return false;
}

int64_t Phases::count() const {
    return int64_t(axis[0].size()) * static_cast<int64_t>(axis[1].size()) * static_cast<int64_t>(axis[2].size());
}

int64_t Phases::most_pixels() const {
    return product_of_most(*this, [](const AxisPhase& phase) { return phase.windows.windows; });
}

int64_t Phases::most_taps() const {
    return product_of_most(*this, [](const AxisPhase& phase) { return phase.windows.taps; });
}

}  // namespace convgpu::conv
