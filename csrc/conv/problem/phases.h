// The phases of dgrad: sets of pixels of gx that meet the same taps.
//
// A gradient of x asks for every pixel which windows cover it, and with a stride most taps meet no window. Along each
// axis, window o has pixel o*stride + t*dilation - before under its tap t. So pixels with the same remainder by the
// stride meet the same taps: every tap_step-th, from a first one on. Such a set of pixels is a phase. Its i-th pixel
// and j-th tap meet in the window
//
//     o = first + i - j * step     where tap_step = stride / g, step = dilation / g, g = gcd(stride, dilation)
//
// Each phase is therefore a convolution of gy with stride 1, and has no product that is not needed. With stride 2 and a
// filter of 3 taps, for example, even pixels meet taps 0 and 2, and odd pixels meet tap 1. A phase may have no taps at
// all, where the stride is larger than the filter or where g > 1; its pixels are activation(bias).
#pragma once
#include <array>
#include <vector>

#include "../../common/geometry.h"
#include "windows.h"

namespace convgpu::conv {

constexpr int kPhasesAtOnce = 8;  // of an axis in one launch: as many as fit into the arguments of a kernel

// The pixels and taps of a phase along one axis.
struct AxisPhase {
    WindowAxis windows;                       // over gy: one for each pixel of the phase, which steps backward
    int first_pixel = 0, pixel_step = 1;      // in gx
    int first_tap = 0, tap_step = 1, of = 1;  // in the filter, which has `of` taps

    __device__ __forceinline__ int pixel(int i) const { return first_pixel + i * pixel_step; }
    __device__ __forceinline__ int tap(int j) const { return first_tap + j * tap_step; }
};

// The phases that have pixels and taps. Along each axis those with most taps come first; each choice of one for every
// axis is a phase of the images.
struct Phases {
    std::array<std::vector<AxisPhase>, kAxes> axis;
    bool complete = true;  // whether every pixel of gx is in one of them

    explicit Phases(const ConvGeometry& geo);
    bool empty() const;
    bool has_holes() const;  // whether some tap of some pixel meets no window
    int64_t count() const;
    int64_t most_pixels() const;  // of one phase in one image
    int64_t most_taps() const;    // of one phase
};

}  // namespace convgpu::conv
