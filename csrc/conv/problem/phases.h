// dgrad by phases: which pixels of gx meet which taps.
//
// Along each axis, window o meets pixel o*stride + t*dilation - before with its tap t. Pixels of one remainder by the
// stride, a phase, therefore meet the same taps, every tap_step-th from a first one on; and for its i-th pixel and j-th
// tap the window is
//
//     o = first + i - j * step     where tap_step = stride / g, step = dilation / g, g = gcd(stride, dilation)
//
// which is again a convolution, of gy and of stride 1, without a single product that is not needed. A phase may have no
// taps at all: where the stride is larger than the filter, or where g > 1.
#pragma once
#include <array>
#include <vector>

#include "../../common/geometry.h"
#include "windows.h"

namespace convgpu::conv {

struct AxisPhase {
    WindowAxis windows;                       // over gy: one for each pixel of the phase
    int first_pixel = 0, pixel_step = 1;      // of gx
    int first_tap = 0, tap_step = 1, of = 1;  // of the filter, which has `of` taps

    __device__ __forceinline__ int pixel(int i) const { return first_pixel + i * pixel_step; }
    __device__ __forceinline__ int tap(int j) const { return first_tap + j * tap_step; }
};

// The phases that have pixels and taps, those with most taps first.
struct Phases {
    std::array<std::vector<AxisPhase>, kAxes> axis;
    bool complete = true;  // whether they hold all pixels of gx

    explicit Phases(const ConvGeometry& geo);
    bool empty() const;
    bool has_holes() const;  // whether some tap of some pixel meets no window
    int64_t count() const;
    int64_t most_pixels() const;  // of one phase in one image
    int64_t most_taps() const;    // of one phase
};

}  // namespace convgpu::conv
