// A plan says how an op of random numbers runs. It depends on the op, the size, the dtype and the alignment alone. It
// is made once, and the launchers in random.h do what it says.
#pragma once
#include <string>

#include "../common/array.h"

namespace convgpu::random {

enum class Op { kDropout };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

// The state of convgpu.Generator: the key, the number of the sequence, and how many blocks of words have been drawn.
struct State {
    uint64_t seed, stream, counter;
};

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

}  // namespace convgpu::random
