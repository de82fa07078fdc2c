// A plan says how an op of the softmax family runs. It depends on the op, the shape, the axis, the dtype and the
// alignment alone. It is made once, and the launchers in softmax.h do what it says.
#pragma once
#include <string>

#include "../common/array.h"

namespace convgpu::softmax {

enum class Op { kSoftmax, kSoftmaxDgrad, kCrossEntropy, kCrossEntropyDgrad };

const char* name_of(Op op);
Op op_of(const std::string& name);  // throws std::invalid_argument for any other name

constexpr int kThreads = 256;

struct Plan {
    Op op;
    Shape x;
    int axis;
    DType dtype;
    int64_t lines = 1, classes = 1;  // a line has the classes of one example: elements along the axis
    int64_t inner = 1;               // elements between neighbours of a line
    int vector = 1;                  // elements that a thread loads in one access
    int sharing = 1;                 // threads that share a line
    size_t workspace = 0;

    int64_t blocks() const { return (lines + kThreads / sharing - 1) / (kThreads / sharing); }
    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan. `alignment` is a power of two that divides the addresses of all arrays of x's shape.
Plan plan(Op op, const Shape& x, int axis, DType dtype, int alignment);

// What becomes of the losses of all lines.
enum class Reduction { kNone, kSum, kMean };
Reduction reduction_of(const std::string& name);  // throws std::invalid_argument for any other name

}  // namespace convgpu::softmax
