// A plan says how a reduction over axes runs: which kernel, how its threads share the work, and in how many parts a sum
// is split. It depends on the function, the shape, the axes, the dtype, the alignment and the device. It is made once,
// and the launcher in reduce.h does what it says.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../device/properties.h"

namespace convgpu::reduce {

enum class Function { kSum, kMean, kMax, kMin };

Function function_of(const std::string& name);  // throws std::invalid_argument for any other name

constexpr int kThreads = 256;
constexpr int kMostAxes = 4;  // that one index is decoded into

// An axis of the array, or neighbouring axes of one kind that are one: its length, and the elements between neighbours.
struct Axis {
    int64_t length, stride;
};

enum class Kernel {
    kRows,     // the innermost axis is reduced: neighbouring threads read neighbouring terms
    kColumns,  // the innermost axis stays: neighbouring threads own neighbouring results
};

struct Plan {
    Function function;
    Shape x;
    std::vector<int> axes;
    DType dtype;

    Kernel kernel = Kernel::kRows;
    std::vector<Axis> kept = {}, reduced = {};  // innermost first; without `inner`
    int64_t inner = 1;                          // the length of the innermost axis, whose elements are neighbours
    int64_t results = 1, terms = 1;             // how many results there are, and the terms of each
    int vector = 1;                             // elements of the innermost axis that a thread loads in one access
    int sharing = 1;                            // threads of a block that share the terms of a result
    int parts = 1;  // blocks that share the terms of a result; their results are combined afterwards
    size_t workspace = 0;

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. `axes` are in ascending order; `alignment` is a power of two that divides the address of x; the parts
// of a split sum take at most `limit` bytes.
Plan plan(Function function, const Shape& x, const std::vector<int>& axes, DType dtype, int alignment,
          const Device& device, size_t limit);

}  // namespace convgpu::reduce
