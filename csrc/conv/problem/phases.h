// The phases of dgrad: sets of pixels of gx that meet the same taps.
//
// A gradient of x asks, for every pixel, which windows cover it. With a stride, most taps of a pixel meet no window.
// Along each axis, the tap t of window o is the pixel o*stride + t*dilation - before. So pixels with the same remainder
// by the stride meet the same taps: every tap_step-th, from a first one on. Such a set of pixels is a phase. Its i-th
// pixel and j-th tap meet in the window
//
//     o = first + i - j * step     where tap_step = stride / g, step = dilation / g, g = gcd(stride, dilation)
//
// Each phase is therefore a convolution of gy with stride 1, and computes no product in vain. With stride 2 and a
// filter of 3 taps, for example, even pixels meet taps 0 and 2, and odd pixels meet tap 1. A phase may have no taps at
// all, if the stride is larger than the filter or if g > 1; its pixels are activation(bias).
#pragma once
#include <array>
#include <vector>

#include "../../common/geometry.h"
#include "windows.h"

namespace convgpu::conv {

// So many phases of an axis run in one launch, because the arguments of a kernel have room for no more.
constexpr int kPhasesAtOnce = 8;

// The pixels and taps of a phase along one axis.
struct AxisPhase {
    WindowAxis windows;                       // windows over gy, one for each pixel of the phase; they step backward
    int first_pixel = 0, pixel_step = 1;      // positions in gx
    int first_tap = 0, tap_step = 1, of = 1;  // positions in the filter, which has `of` taps

    __device__ __forceinline__ int pixel(int i) const { return first_pixel + i * pixel_step; }
    __device__ __forceinline__ int tap(int j) const { return first_tap + j * tap_step; }
};

// All phases that have pixels and taps. Along each axis, phases with more taps come first. A phase of the images is a
// choice of one phase along every axis.
struct Phases {
    std::array<std::vector<AxisPhase>, kAxes> axis;
    bool complete = true;  // whether every pixel of gx is in one of these phases

    explicit Phases(const ConvGeometry& geo);
    bool empty() const;
    bool has_holes() const;  // whether some tap of some pixel meets no window
    int64_t count() const;
    int64_t most_pixels() const;  // of one phase, in one image
    int64_t most_taps() const;    // of one phase
};

}  // namespace convgpu::conv
