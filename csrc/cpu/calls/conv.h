// A convolution, one of its gradients, or a sum per channel, as kernels take it.
#pragma once
#include "../../common/options.h"
#include "../gather.h"
#include "../views.h"

namespace convgpu::cpu {

// fprop or dgrad: y is what is computed, x what is read; for dgrad these are gx and gy.
struct ConvCall {
    Images x, y;
    Filters w;  // step_c for the channels of x, step_k for those of y
    const void* bias = nullptr;
    const std::vector<Gather>* gathers = nullptr;
    const Gather* windows = nullptr;  // for dgrad: fprop's gather, which tells where the window of a pixel of gy lies
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

struct SumCall {
    Images gy;
    void* gb = nullptr;
    int threads = 1;
};

}  // namespace convgpu::cpu
