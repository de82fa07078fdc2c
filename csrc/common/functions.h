// The functions of single elements and of two operands, which Python passes by name.
#pragma once
#include <string>

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

// kReversed...: the operands in the other order, for a number before an array.
enum class BinaryFunction {
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kMaximum,
    kMinimum,
    kReversedSubtract,
    kReversedDivide
};

BinaryFunction binary_function_of(const std::string& name);  // throws std::invalid_argument for any other name

}  // namespace convgpu::elementwise
