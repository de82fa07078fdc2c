// A plan says how an elementwise op runs. It depends on the op, the size, the dtype and the alignment alone. It is made
// once, and the launchers in elementwise.h do what it says.
#pragma once
#include <string>

#include "../common/array.h"

namespace convgpu::elementwise {

enum class Function {
    kRelu,
    kLeakyRelu,
    kRelu6,
    kSigmoid,
    kTanh,
    kElu,
    kSoftplus,
    kSilu,
    kGelu,
    kGeluTanh,
    kHardSigmoid,
    kHardTanh
};

Function function_of(const std::string& name);  // throws std::invalid_argument for any other name

// A function with its parameters. alpha: the slope of kLeakyRelu and the alpha of kElu; scale: a factor of kElu.
template <class A>
struct Activated {
    Function function;
    A alpha, scale;
};

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
