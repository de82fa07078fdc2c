// An elementwise op, as kernels take it.
#pragma once
#include "../../common/functions.h"
#include "../views.h"

namespace convgpu::cpu {

// Element (i, j, ...) is at data + i * step[0] + j * step[1] + ...; steps count elements and are 0 where one element
// serves a whole axis.
struct Operand {
    char* data = nullptr;
    const int64_t* step = nullptr;
};

struct ElementwiseCall {
    // The axes of the result, of which those that can be are merged; there is at least one. The last one is the axis
    // whose elements lie nearest to each other in the result.
    const int64_t* size = nullptr;
    int64_t rank = 1;
    const Operand* x = nullptr;
    int64_t count = 0;  // of x
    Operand y;
    elementwise::Activated<double> by{};        // of activate and activate_dgrad
    elementwise::BinaryFunction function = {};  // of binary
    int threads = 1;
};

}  // namespace convgpu::cpu
