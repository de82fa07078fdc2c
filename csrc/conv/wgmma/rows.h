// Tells, for fprop and dgrad, which range of scaled factors (hopper/scaled.h) a row of the result belongs to.
#pragma once
#include "../../hopper/launch.h"

namespace convgpu::conv {

// Rows are pixels, and every image has the same number of them. Every image is a range.
struct ImageRows {
    int M;
    Divisor by_pixels;
    __device__ __forceinline__ hopper::PlaceOfRow operator()(int, int m) const {
        return {m < M ? m : -1, by_pixels.short_quotient(static_cast<uint32_t>(m))};
    }
};

}  // namespace convgpu::conv
