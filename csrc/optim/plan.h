// A plan says how the elements of a list of arrays are spread over blocks. It depends on op, sizes, dtypes and device
// alone. It is made once, and the launchers in optim.h do what it says.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../device/properties.h"

namespace convgpu::optim {

enum class Op { kSgdStep, kAdamStep, kGlobalNorm, kCastAll };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

struct Plan {
    Op op;
    Shape sizes;           // the number of elements of each array
    DType dtype, other;    // of the first list; of the gradients, or of the results of cast_all
    int64_t chunk = 0;     // the elements of a block, which are neighbours in one array
    int64_t blocks = 0;    // at least 1, which writes what all elements share
    size_t workspace = 0;  // the table of arrays, and for global_norm the sums of the blocks

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. Throws for dtypes that do not go together.
Plan plan(Op op, const Shape& sizes, DType dtype, DType other, const Device& device);

}  // namespace convgpu::optim
