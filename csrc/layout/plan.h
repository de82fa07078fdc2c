// A plan says which kernel changes a layout, and how. It depends on op, shape, dtype and alignment alone. It is made
// once, and the launchers in layout.h do what it says.
#pragma once
#include <string>

#include "../common/array.h"

namespace convgpu::layout {

enum class Op { kNchwToNhwc, kNhwcToNchw, kOihwToHwio, kHwioToOihw };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

enum class Kernel {
    kNarrow,  // a thread moves one line of a matrix that is only a few elements wide or high
    kTiled,   // a block moves one tile through shared memory
};

struct Plan {
    Op op;
    Shape x;  // the shape of the array that is changed
    DType dtype;
    Kernel kernel = Kernel::kTiled;
    int in = 1, out = 1;  // elements that a thread of kTiled loads in one access, and elements that it stores

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. `alignment` is a power of two that divides the addresses of x and y.
Plan plan(Op op, const Shape& x, DType dtype, int alignment);

}  // namespace convgpu::layout
