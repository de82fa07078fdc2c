// The launchers of the Hopper kernels, and the kernels of one half type, compiled in a file of their own each.
#pragma once
#include "conv_wgmma.cuh"
#include "plan_wgmma.h"

namespace convgpu::conv {

// The im2col map of windows over images with `channels` of all groups, x[n][d][h][w][c].
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

// w[tap][channel of a group][filter].
template <class T>
TensorMap map_of_filters(const T* data, const ConvGeometry& geo) {
    const int64_t channels = geo.channels / geo.groups;
    return hopper::panels_of(data, geo.taps(), channels, geo.filters, geo.filters, channels * geo.filters);
}

template <class T>
void run_wgmma(const Fprop<T>& p, const ConvGeometry& geo, int images, const Device& device, const Workspace& workspace,
               Stream stream) {
    const Windows& x = p.windows;
    const Lines lines(p.channels, has_volumes(x.d));
    const hopper::Size size{p.M, p.N, static_cast<int>(length_in_lines(Direction::kFprop, geo, geo.taps())),
                            static_cast<int>(geo.groups)};
    const hopper::Plan plan = hopper::plan_product(size, device, workspace.bytes);
    hopper::dispatch_tile(plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, true>(
            conv_fprop_wgmma<T, n.value, cluster.value>, size, plan, device, workspace, stream,
            map_of_windows(p.x, images, geo.channels, x.d, x.h, x.w), map_of_filters(p.w, geo), p, lines);
    });
}

// Of p, the first phase of each axis.
template <class T>
void run_wgmma(const Dgrad<T>& p, const ConvGeometry& geo, const Device& device, const Workspace& workspace,
               Stream stream) {
    const ForwardAxes axes{forward(p.phase[0][0].windows), forward(p.phase[1][0].windows),
                           forward(p.phase[2][0].windows)};
    const Lines lines(p.filters, has_volumes(axes.d));
    const int taps = axes.d.taps * axes.h.taps * axes.w.taps;
    const hopper::Size size{p.batch * axes.d.windows * axes.h.windows * axes.w.windows, p.N,
                            static_cast<int>(length_in_lines(Direction::kDgrad, geo, taps)),
                            static_cast<int>(geo.groups)};
    const hopper::Plan plan = hopper::plan_product(size, device, workspace.bytes);
    hopper::dispatch_tile(plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, true>(
            conv_dgrad_wgmma<T, n.value, cluster.value>, size, plan, device, workspace, stream,
            map_of_windows(p.gy, p.batch, geo.filters, axes.d, axes.h, axes.w), map_of_filters(p.w, geo), p, axes,
            lines);
    });
}

template <class T>
void run_wgmma(const Wgrad<T>& p, const ConvGeometry& geo, int images, const Device& device, const Workspace& workspace,
               Stream stream) {
    const Windows& x = p.windows;
    const WgradLines<T> gw{p, Lines(p.channels, has_volumes(x.d))};
    const hopper::Size size{static_cast<int>(length_in_lines(Direction::kWgrad, geo, geo.taps())), p.N, p.K,
                            static_cast<int>(geo.groups)};
    const hopper::Plan plan = hopper::plan_product(size, device, workspace.bytes);
    hopper::dispatch_tile(plan, [&](auto n, auto cluster) {
        hopper::launch_tiles<T, n.value, cluster.value, true>(
            conv_wgrad_wgmma<T, n.value, cluster.value>, size, plan, device, workspace, stream,
            map_of_windows(p.x, images, geo.channels, x.d, x.h, x.w),
            hopper::panels_of(p.gy, 1, p.K, p.filters, p.filters, 0), gw);
    });
}

#define CONVGPU_CONV_WGMMA_INSTANCES(T)                                                                             \
    template void run_wgmma<T>(const Fprop<T>&, const ConvGeometry&, int, const Device&, const Workspace&, Stream); \
    template void run_wgmma<T>(const Dgrad<T>&, const ConvGeometry&, const Device&, const Workspace&, Stream);      \
    template void run_wgmma<T>(const Wgrad<T>&, const ConvGeometry&, int, const Device&, const Workspace&, Stream);

}  // namespace convgpu::conv
