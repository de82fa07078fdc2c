// The sizes and options of one problem, as convgpu/geometry.py states them. They are checked here again, because
// kernels that run on checked sizes stay inside their arrays.
#pragma once
#include <cstdint>

#include "array.h"

namespace convgpu {

// Every op computes its output size by this formula: floor((n + before + after - (dilation*(f-1) + 1)) / stride) + 1,
// at least 0.
int64_t output_size(int64_t n, int64_t f, int64_t stride, int64_t dilation, int64_t before, int64_t after);

struct PoolGeometry {
    int64_t batch = 0, channels = 0;
    Shape size, window, stride, before, after, dilation, output;  // 1 to 3 entries each, one per spatial axis
    bool adaptive = false, count_include_pad = false, channels_last = true;

    int rank() const { return static_cast<int>(size.size()); }
    int64_t taps() const;  // the number of taps of one window
    Shape x_shape() const;
    Shape y_shape() const;
    DType offset_dtype() const;  // the smallest type that holds a tap's offset inside its window
    void check() const;          // throws std::invalid_argument
};

bool operator==(const PoolGeometry& a, const PoolGeometry& b);
inline bool operator!=(const PoolGeometry& a, const PoolGeometry& b) { return !(a == b); }

struct ConvGeometry {
    int64_t batch = 0, channels = 0, filters = 0;
    Shape size, kernel, stride, before, after, dilation;  // 1 to 3 entries each, one per spatial axis
    int64_t groups = 1;
    bool channels_last = true;
    Shape output;  // computed by check() from the members above

    int rank() const { return static_cast<int>(size.size()); }
    int64_t taps() const;           // the number of taps of one filter
    int64_t input_pixels() const;   // the number of pixels of one input image
    int64_t output_pixels() const;  // the number of pixels of one output image
    Shape x_shape() const;
    Shape w_shape() const;
    Shape y_shape() const;
    bool padded() const;  // whether some window reaches beyond the image
    void check();         // throws std::invalid_argument
};

}  // namespace convgpu
