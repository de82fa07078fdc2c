// The kernels of one instruction set and one dtype, as launchers call them: a table of functions.
#pragma once
#include "../common/geometry.h"
#include "../common/options.h"
#include "gather.h"
#include "views.h"

namespace convgpu::cpu {

// fprop or dgrad: y is what is computed, x what is read; for dgrad these are gx and gy.
struct ConvCall {
    Images x, y;
    Filters w;  // step_c for the channels of x, step_k for those of y
    const void* bias = nullptr;
    const std::vector<Gather>* gathers = nullptr;
    int64_t groups = 1, reads = 0, makes = 0;  // channels of x and of y in each group
    int64_t step_group = 0;                    // from the filters of a group to those of the next
    Activation activation = Activation::kNone;
    int threads = 1;
};

struct WgradCall {
    Images x, gy;
    Filters gw;
    const Gather* gather = nullptr;
    int64_t groups = 1, channels = 0, filters = 0;  // of each group
    int64_t step_group = 0;
    int threads = 1;
};

struct GemmCall {
    Matrices a, b, c, y;  // c.data may be null
    int64_t items = 1, M = 0, N = 0, K = 0;
    double alpha = 1, beta = 0;
    Activation activation = Activation::kNone;
    int threads = 1;
};

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

struct SumCall {
    Images gy;
    void* gb = nullptr;
    int threads = 1;
};

struct Kernels {
    void (*convolve)(const ConvCall&);
    void (*conv_wgrad)(const WgradCall&);
    void (*gemm)(const GemmCall&);
    void (*max_pool)(const PoolCall&);
    void (*max_pool_dgrad)(const PoolCall&);
    void (*max_pool_gather)(const PoolCall&);
    void (*avg_pool)(const PoolCall&);
    void (*avg_pool_dgrad)(const PoolCall&);
    void (*lp_pool)(const PoolCall&);
    void (*lp_pool_dgrad)(const PoolCall&);
    void (*lp_pool_gather)(const PoolCall&);
    void (*channel_sum)(const SumCall&);
};

}  // namespace convgpu::cpu
