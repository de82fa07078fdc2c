// Images and filters as factors on Hopper: what hopper/operand.h says of panels, for an implicit product.
//
// The depth of a convolution's sums counts taps and then channels, in lines of 64: a tap has a whole number of them, in
// the last of which channels are missing. TMA writes zeros for them, for padding, and beyond the batch. In its im2col
// mode it takes 64 windows, one after the other through the images, and of each the pixel under one tap.
#pragma once
#include "../../hopper/operand.h"
#include "../problem/phases.h"

namespace convgpu::conv {

// How the channels of one tap lie in lines of 64.
struct Lines {
    Divisor by_length;     // of a tap, in whole lines
    bool volumes = false;  // images with three axes, else the first is one pixel long and TMA is not told of it

    Lines(int64_t channels, bool volumes) : by_length(static_cast<uint64_t>(length_of(channels))), volumes(volumes) {}
    static int64_t length_of(int64_t channels) {
        return (channels + hopper::kPanel - 1) / hopper::kPanel * hopper::kPanel;
    }
};

// Windows over images as a factor: its rows are windows and its depth taps and channels, or (kDeep false) the reverse.
// The axes step forward from tap to tap.
template <class T, bool kDeep_>
struct WindowPanels {
    using Element = T;
    static constexpr bool kDeep = kDeep_, kHoles = true;

    const hopper::Maps<T>& maps;
    const WindowAxis &d, &h, &w;
    const Lines& lines;
    int channels;  // of a group
    bool holes;    // some tap of some window lies outside the images

    __device__ __forceinline__ void load(hopper::Panel<T>& to, uint32_t full, int part, int row, int k,
                                         int group) const {
        auto n = static_cast<uint32_t>(kDeep ? row : k), tap = static_cast<uint32_t>(kDeep ? k : row);
        const int c = group * channels + static_cast<int>(lines.by_length.short_split(tap));
        const int x = w.first + static_cast<int>(w.by_windows.short_split(n)) * w.stride;
        const int y = h.first + static_cast<int>(h.by_windows.short_split(n)) * h.stride;
        const int s = static_cast<int>(w.by_taps.short_split(tap)) * w.step;
        const int r = static_cast<int>(h.by_taps.short_split(tap)) * h.step;
        const uint32_t shared = ptx::smem_addr(&to);
        const TensorMap* map = &maps.part[part];
        if (lines.volumes) {
            const int z = d.first + static_cast<int>(d.by_windows.short_split(n)) * d.stride;
            const int at[5] = {c, x, y, z, static_cast<int>(n)}, offset[3] = {s, r, static_cast<int>(tap) * d.step};
            ptx::tma_load_im2col(shared, map, full, at, offset);
        } else {
            const int at[4] = {c, x, y, static_cast<int>(n)}, offset[2] = {s, r};
            ptx::tma_load_im2col(shared, map, full, at, offset);
        }
    }
};

// Filters as a factor, w[tap][channel][filter]. kDeep: rows are channels, the depth is taps and filters; else rows are
// filters, the depth is taps and channels. Taps(int) is the filter's tap for one of the depth.
template <class T, bool kDeep_, class Taps>
struct FilterPanels {
    using Element = T;
    static constexpr bool kDeep = kDeep_;

    const hopper::Maps<T>& maps;
    const Lines& lines;
    Taps taps;
    int filters;  // of a group

    template <int kBlocks>
    __device__ __forceinline__ void multicast(hopper::Panel<T>& to, uint32_t full, int part, int row, int k,
                                              int group) const {
        auto tap = static_cast<uint32_t>(k);
        const auto in_line = static_cast<int>(lines.by_length.short_split(tap));
        const int filter = group * filters + (kDeep ? in_line : row), channel = kDeep ? row : in_line;
        hopper::load_panel<kBlocks>(to, &maps.part[part], full, {filter, channel, taps(static_cast<int>(tap))});
    }
};

// The taps of a filter in their own order.
struct AllTaps {
    __device__ __forceinline__ int operator()(int tap) const { return tap; }
};

// Those of one phase of dgrad, from the last to the first (phases.h).
struct PhaseTaps {
    const AxisPhase &d, &h, &w;

    __device__ __forceinline__ int operator()(int tap) const {
        auto rest = static_cast<uint32_t>(tap);
        const int in_line = backward(w, static_cast<int>(w.windows.by_taps.short_split(rest)));
        const int in_plane = backward(h, static_cast<int>(h.windows.by_taps.short_split(rest)));
        return (backward(d, static_cast<int>(rest)) * h.of + in_plane) * w.of + in_line;
    }

private:
    static __device__ __forceinline__ int backward(const AxisPhase& a, int j) { return a.tap(a.windows.taps - 1 - j); }
};

// Pixels times filters of all groups as a factor: rows are filters of a group, the depth is pixels.
template <class T>
struct OutputPanels {
    using Element = T;
    static constexpr bool kDeep = false;

    const hopper::Maps<T>& maps;
    int filters;  // of a group

    template <int kBlocks>
    __device__ __forceinline__ void multicast(hopper::Panel<T>& to, uint32_t full, int part, int row, int k,
                                              int group) const {
        hopper::load_panel<kBlocks>(to, &maps.part[part], full, {group * filters + row, k, 0});
    }
};

}  // namespace convgpu::conv
