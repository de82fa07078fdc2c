// Convolution in its plainest form. The programs under sanitizers compare the kernels with it.
#pragma once
#include "../../csrc/conv/conv.h"
#include "owned.h"

// Calls use(element of x, element of w, element of y) for every product that exists.
template <class Use>
NOT_WATCHED void each_product(const convgpu::ConvGeometry& geo, Use use) {
    const int64_t channels = geo.channels / geo.groups, filters = geo.filters / geo.groups;
    const int64_t outputs = geo.output_pixels(), pixels = geo.input_pixels();
    for (int64_t out = 0; out < geo.batch * outputs; ++out) {
        for (int64_t tap = 0; tap < geo.taps(); ++tap) {
            int64_t pixel = 0, scale = 1, o = out % outputs, t = tap;
            bool inside = true;
            for (int a = geo.rank() - 1; a >= 0; --a) {
                const int64_t at =
                    o % geo.output[a] * geo.stride[a] + t % geo.kernel[a] * geo.dilation[a] - geo.before[a];
                inside = inside && at >= 0 && at < geo.size[a];
                pixel += at * scale;
                scale *= geo.size[a];
                o /= geo.output[a];
                t /= geo.kernel[a];
            }
            if (!inside) continue;
            const int64_t at = (out / outputs * pixels + pixel) * geo.channels;
            for (int64_t k = 0; k < geo.filters; ++k) {
                const int64_t first = k / filters * channels;
                for (int64_t c = 0; c < channels; ++c) {
                    use(at + first + c, (tap * channels + c) * geo.filters + k, out * geo.filters + k);
                }
            }
        }
    }
}
