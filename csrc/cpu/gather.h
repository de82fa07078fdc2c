// A convolution as a gather: which pixels of the source each pixel of the result reads, and through which taps.
//
// fprop is one gather. dgrad is one gather for each phase of the stride: pixels of gx that are a multiple of the stride
// apart meet the same taps, and neighbours among them read neighbours in gy.
#pragma once
#include <vector>

#include "../common/geometry.h"
#include "views.h"

namespace convgpu::cpu {

struct Tap {
    int filter;      // which tap of the filter
    int64_t offset;  // the pixel that it reads lies so far from the first one of the window
};

// One spatial axis: result pixel first + m * apart, for m below count, reads source pixels m * step + offset.
struct GatherAxis {
    int64_t count = 1, first = 0, apart = 1, step = 1;
    std::vector<Tap> taps{{0, 0}};  // in ascending order of their offsets
};

struct Gather {
    GatherAxis axis[kAxes];
    bool padded = false;  // whether some tap lies outside the source

    int64_t taps() const {
        return static_cast<int64_t>(axis[0].taps.size()) * axis[1].taps.size() * axis[2].taps.size();
    }
    int64_t pixels() const { return axis[0].count * axis[1].count * axis[2].count; }
};

std::vector<Gather> fprop_gathers(const ConvGeometry& geo);
std::vector<Gather> dgrad_gathers(const ConvGeometry& geo);

}  // namespace convgpu::cpu
