// The wgmma kernels of one type of factors: the functions here make tensor maps of the arrays, and lead from the plan's
// tile to an instance of the kernel. The instances of each type are compiled in a file of their own.
#pragma once
#include "conv_dgrad_wgmma.cuh"
#include "conv_fprop_wgmma.cuh"
#include "conv_wgrad_wgmma.cuh"
#include "wgmma.h"

namespace convgpu::conv {

// Returns the map by which TMA finds 64 windows over images, x[n][d][h][w][c], whose `channels` are those of all
// groups. The map describes the box in which the first pixels of all windows lie. `lower` is a corner of this box,
// counted from the first pixel of the image, and `upper` is the opposite corner, counted from the last pixel.
template <class T>
TensorMap map_of_windows(const T* data, int64_t images, int64_t channels, const WindowAxis& d, const WindowAxis& h,
                         const WindowAxis& w) {
    Im2colLayout layout;
    layout.tensor = {data, hopper::kElementType<T>, 1, {static_cast<uint64_t>(channels)}, {sizeof(T)}};
    uint64_t distance = sizeof(T) * static_cast<uint64_t>(channels);
    const auto append = [&](int64_t size) {
        layout.tensor.size[layout.tensor.rank] = static_cast<uint64_t>(size);
        layout.tensor.stride[layout.tensor.rank++] = distance;
        distance *= static_cast<uint64_t>(size);
    };
    const auto append_axis = [&](const WindowAxis& a) {
        const uint32_t i = layout.tensor.rank - 1;
        layout.lower[i] = a.first;
        layout.upper[i] = a.first + (a.windows - 1) * a.stride - (a.pixels - 1);
        layout.step[i + 1] = static_cast<uint32_t>(a.stride);
        append(a.pixels);
    };
    append_axis(w);
    append_axis(h);
    if (has_volumes(d)) append_axis(d);
    append(images);
    layout.channels = layout.pixels = hopper::kPanel;
    layout.swizzle = Swizzle::k128B;
    return encode(layout);
}

// Returns the map of the filters, w[tap][channel of a group][filter].
template <class T>
TensorMap map_of_filters(const T* data, const ConvGeometry& geo) {
    const int64_t channels = geo.channels / geo.groups;
    return hopper::panels_of(data, geo.taps(), channels, geo.filters, geo.filters, channels * geo.filters);
}

// Returns the maps of a factor of type T, each of which map(data) makes. Half types are read as they lie in memory.
// Float32 is read as it was scaled, from element `first` on.
template <class T, class Map>
hopper::Maps<T> maps_of(const hopper::Value<T>* data, const hopper::ScaledFactor* scaled, int64_t first, Map map) {
    if constexpr (!hopper::kScaled<T>) {
        return {{map(data)}};
    } else if constexpr (hopper::kParts<T> == 1) {
        return {{map(scaled->high + first)}};
    } else {
        return {{map(scaled->high + first), map(scaled->low + first)}};
    }
}

// Returns the product in the form that hopper/launch.h takes. For float32 it includes the scales of its factors.
template <class T, class P, class Rows>
hopper::OnHopper<T, P, Rows> on_hopper(const P& p, const Rows& rows, const hopper::Columns& columns,
                                       const hopper::ScaledFactors* scaled, int terms, int64_t first_range = 0) {
    if constexpr (hopper::kScaled<T>) {
        return {p, rows, columns, *scaled, terms, first_range};
    } else {
        return p;
    }
}

inline const hopper::ScaledFactor* factor_a(const WgmmaLaunch& launch) {
    return launch.scaled ? &launch.scaled->a : nullptr;
}
inline const hopper::ScaledFactor* factor_b(const WgmmaLaunch& launch) {
    return launch.scaled ? &launch.scaled->b : nullptr;
}

template <class T>
void start_wgmma(const Fprop<hopper::Value<T>>& p, const WgmmaLaunch& launch) {
    const ConvGeometry& geo = launch.problem.geo;
    const Windows& x = p.windows;
    const Lines lines(p.channels, has_volumes(x.d));
    const hopper::Size size{p.M, p.N, length_in_lines(launch.problem, geo.taps()), geo.groups, hopper::kFactors<T>};
    const auto map_x = [&](auto* data) { return map_of_windows(data, launch.images, geo.channels, x.d, x.h, x.w); };
    const auto map_w = [&](auto* data) { return map_of_filters(data, geo); };
    const hopper::ResultMap results = hopper::map_of(p.y, {p.N, p.M, 1, geo.groups, geo.filters, 0, p.N}, p.M);
    const auto on =
        on_hopper<T>(p, ImageRows{p.M, Divisor(geo.output_pixels())}, {p.N, p.N, 1}, launch.scaled, p.K, launch.first);
    hopper::dispatch_tile<T>(*launch.plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, true>(
            conv_fprop_wgmma<T, n.value, cluster.value>, size, *launch.plan, launch.device, launch.workspace,
            launch.stream, maps_of<T>(p.x, factor_a(launch), launch.first * x.images.image, map_x),
            maps_of<T>(p.w, factor_b(launch), 0, map_w), results, on, lines);
    });
}

template <class T>
void start_wgmma(const Dgrad<hopper::Value<T>>& p, const WgmmaLaunch& launch) {
    const ConvGeometry& geo = launch.problem.geo;
    const ForwardAxes axes{forward(p.phase[0][0].windows), forward(p.phase[1][0].windows),
                           forward(p.phase[2][0].windows)};
    const Lines lines(p.filters, has_volumes(axes.d));
    const int taps = axes.d.taps * axes.h.taps * axes.w.taps;
    const int pixels = axes.d.windows * axes.h.windows * axes.w.windows, groups = static_cast<int>(geo.groups);
    const hopper::Size size{int64_t(p.batch) * pixels, p.N, length_in_lines(launch.problem, taps), geo.groups,
                            hopper::kFactors<T>};
    const auto map_gy = [&](auto* data) { return map_of_windows(data, p.batch, geo.filters, axes.d, axes.h, axes.w); };
    const auto map_w = [&](auto* data) { return map_of_filters(data, geo); };
    const hopper::ResultLayout layout{p.N, int64_t(p.batch) * pixels, 1, geo.groups, geo.channels, 0, p.N};
    const hopper::ResultMap results = hopper::map_of(p.gx, layout, layout.rows, pixels == geo.input_pixels());
    const auto on = on_hopper<T>(p, ImageRows{p.batch * pixels, Divisor(pixels)}, {p.N, 1, groups}, launch.scaled, p.K,
                                 launch.first);
    hopper::dispatch_tile<T>(*launch.plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, true>(
            conv_dgrad_wgmma<T, n.value, cluster.value>, size, *launch.plan, launch.device, launch.workspace,
            launch.stream, maps_of<T>(p.gy, factor_a(launch), launch.first * p.of_gy.image, map_gy),
            maps_of<T>(p.w, factor_b(launch), 0, map_w), results, on, axes, lines);
    });
}

template <class T>
void start_wgmma(const Wgrad<hopper::Value<T>>& p, const WgmmaLaunch& launch) {
    const ConvGeometry& geo = launch.problem.geo;
    const Windows& x = p.windows;
    const Lines lines(p.channels, has_volumes(x.d));
    const hopper::Size size{length_in_lines(launch.problem, geo.taps()), p.N, p.K, geo.groups, hopper::kFactors<T>};
    const auto map_x = [&](auto* data) { return map_of_windows(data, launch.images, geo.channels, x.d, x.h, x.w); };
    const auto map_gy = [&](auto* data) { return hopper::panels_of(data, 1, p.K, p.filters, p.filters, 0); };
    const hopper::ResultLayout layout{p.N, p.channels, geo.taps(), geo.groups, p.filters, p.channels * p.filters, p.N};
    const int64_t length = Lines::length_of(p.channels);
    const hopper::ResultMap results = p.wide ? hopper::map_of(static_cast<const float*>(p.gw), layout, length)
                                             : hopper::map_of(static_cast<hopper::Value<T>*>(p.gw), layout, length);
    const auto gw = on_hopper<T>(WgradLines<hopper::Value<T>>{p, lines}, ChannelRows{p.M, p.channels, lines.by_length},
                                 {p.N, p.N, 1}, launch.scaled, p.K);
    hopper::dispatch_tile<T>(*launch.plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, true>(
            conv_wgrad_wgmma<T, n.value, cluster.value>, size, *launch.plan, launch.device, launch.workspace,
            launch.stream, maps_of<T>(p.x, factor_a(launch), 0, map_x), maps_of<T>(p.gy, factor_b(launch), 0, map_gy),
            results, gw);
    });
}

#define CONVGPU_CONV_WGMMA(T)                                                         \
    template void start_wgmma<T>(const Fprop<hopper::Value<T>>&, const WgmmaLaunch&); \
    template void start_wgmma<T>(const Dgrad<hopper::Value<T>>&, const WgmmaLaunch&); \
    template void start_wgmma<T>(const Wgrad<hopper::Value<T>>&, const WgmmaLaunch&);

}  // namespace convgpu::conv
