#include "pixels.h"

namespace convgpu::conv {
namespace {

// channels_last images whose spatial axes are `size` long.
Images images_of(const int (&size)[kAxes], int64_t channels, int64_t groups) {
    Images images;
    images.pixel = channels;
    images.line = size[2] * images.pixel;
    images.plane = size[1] * images.line;
    images.image = size[0] * images.plane;
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
