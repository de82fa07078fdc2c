// Which kernel changes a layout: decided by sizes and alignment alone.
#pragma once
#include "transpose.h"

namespace convgpu::layout {

struct Plan {
    bool narrow;
    int in = 1, out = 1;  // elements per access of a tiled transpose
};

Plan plan_transpose(const Transpose& problem, size_t element_bytes, bool aligned);

}  // namespace convgpu::layout
