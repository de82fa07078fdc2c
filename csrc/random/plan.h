// A plan says how an op of random numbers runs. It depends on the op, the size, the dtype and the alignment alone. It
// is made once, and the launchers in random.h do what it says.
#pragma once
#include <string>

#include "../common/array.h"

namespace convgpu::random {

enum class Op { kDropout, kUniform, kNormal, kIntegers };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

struct Plan {
    Op op;
    int64_t size;  // the number of elements of each array
    DType dtype;
    int vector = 1;  // elements that a thread loads or stores in one access

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts; also without elements the state moves on
    uint64_t blocks() const;   // how many blocks of four words the call takes
};

// Makes the plan. `alignment` is a power of two that divides the addresses of all arrays but the states.
Plan plan(Op op, int64_t size, DType dtype, int alignment);

}  // namespace convgpu::random
