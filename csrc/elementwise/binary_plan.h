// The plan of a function of two operands that broadcast. It depends on the shapes, the dtype and the alignment alone.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "../common/functions.h"

namespace convgpu::elementwise {

// The most axes that are left when neighbouring ones are merged. Each has two indices or more, so that an array with
// more axes than these would not fit into any memory.
constexpr int kMostAxes = 40;

// An axis of the result, or neighbouring ones that are one: its length, and the elements between neighbours of each
// operand, which are 0 for an operand that is repeated along it.
struct BroadcastAxis {
    int64_t length, a, b;
};

struct BinaryPlan {
    Shape a, b, y;
    DType dtype;
    int64_t size = 1;                      // the number of elements of y
    std::vector<BroadcastAxis> axes = {};  // innermost first; empty where y has one element
    int vector = 1;                        // elements of y that a thread computes at once

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
};

// Makes the plan for operands that broadcast to the shape of y; a number has the shape (). `alignment` is a power of
// two that divides the addresses of all arrays.
BinaryPlan plan_binary(const Shape& a, const Shape& b, const Shape& y, DType dtype, int alignment);

}  // namespace convgpu::elementwise
