// A pooling op, as kernels take it.
#pragma once
#include "../views.h"

namespace convgpu::cpu {

struct PoolAxis {
    int64_t size = 1, window = 1, stride = 1, before = 0, after = 0, dilation = 1, output = 1;
    bool adaptive = false;
};

struct PoolCall {
    PoolAxis axis[kAxes];
    Images x, y, gx, gy, v, z;  // those that the op has
    Images offset_view;         // of the winners, in the layout of y; without data where nobody asks for them
    int offset_bytes = 1;       // of one offset
    bool count_include_pad = false, with_sign = false;
    double power = 0;
    double work = 0;  // the taps of all windows and channels
    int threads = 1;
};

}  // namespace convgpu::cpu
