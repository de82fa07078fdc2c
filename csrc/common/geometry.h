// Sizes and options of one problem, as convgpu/geometry.py states them; checked again here, because what passes these
// checks is memory-safe.
#pragma once
#include <cstdint>

#include "array.h"

namespace convgpu {

// The one output-size formula: floor((n + before + after - (dilation*(f-1) + 1)) / stride) + 1, at least 0.
int64_t output_size(int64_t n, int64_t f, int64_t stride, int64_t dilation, int64_t before, int64_t after);

struct PoolGeometry {
    int64_t batch = 0, channels = 0;
    Shape size, window, stride, before, after, dilation, output;  // one entry per spatial axis: 1 to 3
    bool adaptive = false, count_include_pad = false, channels_last = true;

    int rank() const { return static_cast<int>(size.size()); }
    int64_t taps() const;  // of a window
    Shape x_shape() const;
    Shape y_shape() const;
    DType offset_dtype() const;  // the smallest type that holds a tap's offset inside its window
    void check() const;          // throws std::invalid_argument
};

}  // namespace convgpu
