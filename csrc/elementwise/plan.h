// A plan says how an elementwise op runs. It depends on the op, the size, the dtype and the alignment alone. It is made
// once, and the launchers in elementwise.h do what it says.
#pragma once
#include <string>

#include "../common/array.h"
#include "../common/functions.h"

namespace convgpu::elementwise {

enum class Op { kActivate, kActivateDgrad, kAddN };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

struct Plan {
    Op op;
    int64_t size;  // the number of elements of each array
    DType dtype;
    int vector = 1;  // elements that a thread loads or stores in one access

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. `alignment` is a power of two that divides the addresses of all arrays.
Plan plan(Op op, int64_t size, DType dtype, int alignment);

}  // namespace convgpu::elementwise
