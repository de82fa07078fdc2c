#include "gather.h"

#include <algorithm>
#include <array>

namespace convgpu::cpu {
namespace {

// The options of spatial axis a of three; a missing axis has one pixel and one tap.
struct AxisOptions {
    int64_t size = 1, taps = 1, stride = 1, before = 0, dilation = 1, output = 1;
};

AxisOptions options_of(const ConvGeometry& geo, int a) {
    const int i = a - (kAxes - geo.rank());
    if (i < 0) return {};
    return {geo.size[i], geo.kernel[i], geo.stride[i], geo.before[i], geo.dilation[i], geo.output[i]};
}

GatherAxis fprop_axis(const AxisOptions& o) {
    GatherAxis axis{o.output, 0, 1, o.stride, {}};
    for (int64_t r = 0; r < o.taps; ++r) axis.taps.push_back({static_cast<int>(r), r * o.dilation - o.before});
    return axis;
}

// The phases of one axis of dgrad: pixel i of gx reads gy at (i + before - r * dilation) / stride, where that is whole.
std::vector<GatherAxis> dgrad_axes(const AxisOptions& o) {
    std::vector<GatherAxis> axes;
    for (int64_t first = 0; first < std::min(o.stride, o.size); ++first) {
        GatherAxis axis{(o.size - first - 1) / o.stride + 1, first, o.stride, 1, {}};
        for (int64_t r = o.taps; r-- > 0;) {
            const int64_t distance = first + o.before - r * o.dilation;
            if (distance % o.stride == 0) axis.taps.push_back({static_cast<int>(r), distance / o.stride});
        }
        axes.push_back(axis);
    }
    return axes;
}

bool reaches_outside(const GatherAxis& axis, int64_t size) {
    if (axis.taps.empty() || axis.count == 0) return false;
    return axis.taps.front().offset < 0 || (axis.count - 1) * axis.step + axis.taps.back().offset >= size;
}

}  // namespace

std::vector<Gather> fprop_gathers(const ConvGeometry& geo) {
    Gather gather;
    for (int a = 0; a < kAxes; ++a) {
        gather.axis[a] = fprop_axis(options_of(geo, a));
        gather.padded |= reaches_outside(gather.axis[a], options_of(geo, a).size);
    }
    return {gather};
}

std::vector<Gather> dgrad_gathers(const ConvGeometry& geo) {
    std::array<std::vector<GatherAxis>, kAxes> axes;
    for (int a = 0; a < kAxes; ++a) axes[a] = dgrad_axes(options_of(geo, a));
    std::vector<Gather> gathers;
    for (const GatherAxis& d : axes[0]) {
        for (const GatherAxis& h : axes[1]) {
            for (const GatherAxis& w : axes[2]) {
                Gather gather{{d, h, w}, false};
                for (int a = 0; a < kAxes; ++a)
                    gather.padded |= reaches_outside(gather.axis[a], options_of(geo, a).output);
                gathers.push_back(gather);
            }
        }
    }
    return gathers;
}

}  // namespace convgpu::cpu
