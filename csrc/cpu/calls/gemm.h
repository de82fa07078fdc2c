// Products of stacks of matrices, as kernels take them.
#pragma once
#include "../../common/options.h"
#include "../gather.h"
#include "../views.h"

namespace convgpu::cpu {

struct GemmCall {
    Matrices a, b, c, y;  // c.data may be null
    int64_t items = 1, M = 0, N = 0, K = 0;
    const Gather* rows = nullptr;  // a product is a convolution of one tap, whose pixels are the rows of a
    double alpha = 1, beta = 0;
    Activation activation = Activation::kNone;
    int threads = 1;
};

}  // namespace convgpu::cpu
