// How the wgmma kernels get images and filters into shared memory: by TMA, a panel at a time.
//
// A panel is a box of 64 lines of 64 elements, the unit that hopper/operand.h loads and multiplies. Here a panel of an
// image holds 64 windows, one after the other through the images, and for each window 64 channels of the pixel under
// one tap. TMA has a mode, im2col, that finds these. The depth of the sums runs over the taps and, for each tap, over
// its channels in whole lines of 64, so that a panel never mixes two taps. In the last line of a tap some channels may
// be missing. TMA writes zeros for these, for pixels in the padding, and for windows beyond the batch.
#pragma once
#include "../../hopper/operand.h"
#include "../problem/phases.h"

namespace convgpu::conv {

// The channels of one tap are counted in whole lines of 64.
struct Lines {
    Divisor by_length;     // divides by the length of a tap, in whole lines
    bool volumes = false;  // whether TMA is told of three axes; else the first axis is one pixel long

    Lines(int64_t channels, bool volumes) : by_length(static_cast<uint64_t>(length_of(channels))), volumes(volumes) {}
    static int64_t length_of(int64_t channels) {
        return (channels + hopper::kPanel - 1) / hopper::kPanel * hopper::kPanel;
    }
};

// Windows over images as a factor. Rows are windows and the depth runs over taps and channels; if kDeep is false it is
// the other way round. The axes step forward from tap to tap, since TMA knows no other direction.
template <class T, bool kDeep_>
struct WindowPanels {
    using Element = T;
    static constexpr bool kDeep = kDeep_, kHoles = true;

    const hopper::Maps<T>& maps;
    const WindowAxis &d, &h, &w;
    const Lines& lines;
    int channels;  // the channels of one group
    bool holes;    // whether some tap of some window lies outside the images

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
            // A tile of gw may have rows beyond the last tap, which nobody reads. An offset has only 5 bits, so these
            // rows repeat the last tap.
            const int t = min(static_cast<int>(tap), d.taps - 1) * d.step;
            const int at[5] = {c, x, y, z, static_cast<int>(n)}, offset[3] = {s, r, t};
            ptx::tma_load_im2col(shared, map, full, at, offset);
        } else {
            const int at[4] = {c, x, y, static_cast<int>(n)}, offset[2] = {s, r};
            ptx::tma_load_im2col(shared, map, full, at, offset);
        }
    }
};

// Filters as a factor, w[tap][channel][filter]. With kDeep, rows are channels and the depth runs over taps and filters.
// Without it, rows are filters and the depth runs over taps and channels. taps(i) is the tap of the filter that comes
// i-th along the depth.
template <class T, bool kDeep_, class Taps>
struct FilterPanels {
    using Element = T;
    static constexpr bool kDeep = kDeep_;

    const hopper::Maps<T>& maps;
    const Lines& lines;
    Taps taps;
    int filters;  // the filters of one group

    template <int kBlocks>
    __device__ __forceinline__ void multicast(hopper::Panel<T>& to, uint32_t full, int part, int row, int k,
                                              int group) const {
        auto tap = static_cast<uint32_t>(k);
        const auto in_line = static_cast<int>(lines.by_length.short_split(tap));
        const int filter = group * filters + (kDeep ? in_line : row), channel = kDeep ? row : in_line;
        hopper::load_panel<kBlocks>(to, &maps.part[part], full, {filter, channel, taps(static_cast<int>(tap))});
    }
};

// The order of taps for fprop: as they lie in the filter.
struct AllTaps {
    __device__ __forceinline__ int operator()(int tap) const { return tap; }
};

// The order of taps for one phase of dgrad: those that the phase meets (problem/phases.h), from the last to the first.
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

// gy as a factor of wgrad, a matrix of pixels times the filters of all groups: rows are filters of one group, and the
// depth counts pixels.
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
