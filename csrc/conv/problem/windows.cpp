#include "windows.h"

#include <limits>
#include <stdexcept>
#include <string>

namespace convgpu::conv {
namespace {

// Returns the distance from one of `count` pixels, lines or planes to the next. If there is only one, its value does
// not matter.
int distance(int64_t elements, int count, const char* what) {
    constexpr int64_t kMost = std::numeric_limits<int>::max();
    if (count <= 1) return 0;
    if (elements <= kMost) return static_cast<int>(elements);
    throw std::invalid_argument(std::string("conv: expected at most ") + std::to_string(kMost) + " elements from one " +
                                what + " of an image to the next, got " + std::to_string(elements));
}

// Describes channels_last images whose spatial axes have the lengths `size`.
Images images_of(const int (&size)[kAxes], int64_t channels, int64_t groups) {
    Images images;
    const int64_t line = size[2] * channels, plane = size[1] * line;
    images.pixel = distance(channels, size[2], "pixel");
    images.line = distance(line, size[1], "line");
    images.plane = distance(plane, size[0], "plane");
    images.image = size[0] * plane;
    images.by_channels = Divisor(static_cast<uint64_t>(channels / groups));
    return images;
}

}  // namespace

Axis axis_of(const ConvGeometry& geo, int axis) {
    const int i = axis - (kAxes - geo.rank());
    if (i < 0) return {};
    const auto entry = [i](const Shape& option) { return static_cast<int>(option[i]); };
    return {entry(geo.size),   entry(geo.output),   entry(geo.kernel),
            entry(geo.stride), entry(geo.dilation), entry(geo.before)};
}

Images x_images(const ConvGeometry& geo) {
    const int size[] = {axis_of(geo, 0).pixels, axis_of(geo, 1).pixels, axis_of(geo, 2).pixels};
    return images_of(size, geo.channels, geo.groups);
}

Images y_images(const ConvGeometry& geo) {
    const int size[] = {axis_of(geo, 0).outputs, axis_of(geo, 1).outputs, axis_of(geo, 2).outputs};
    return images_of(size, geo.filters, geo.groups);
}

Windows windows_of(const ConvGeometry& geo) {
    const auto axis = [&](int i) {
        const Axis a = axis_of(geo, i);
        return WindowAxis(a.pixels, a.outputs, a.taps, -a.before, a.stride, a.dilation);
    };
    return {x_images(geo), axis(0), axis(1), axis(2), geo.padded()};
}

}  // namespace convgpu::conv
