#include "functions.h"

#include <iterator>
#include <stdexcept>

namespace convgpu::elementwise {
namespace {

// The names stand in the order of Function.
constexpr const char* kFunctions[] = {"relu",     "leaky_relu", "relu6", "sigmoid",   "tanh",         "elu",
                                      "softplus", "silu",       "gelu",  "gelu_tanh", "hard_sigmoid", "hard_tanh"};
// The names stand in the order of BinaryFunction.
constexpr const char* kBinaryFunctions[] = {"add",     "subtract", "multiply",          "divide",
                                            "maximum", "minimum",  "reversed_subtract", "reversed_divide"};

}  // namespace

Function function_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kFunctions); ++i) {
        if (name == kFunctions[i]) return static_cast<Function>(i);
    }
    throw std::invalid_argument("activate: expected the name of an activation, got " + name);
}

BinaryFunction binary_function_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kBinaryFunctions); ++i) {
        if (name == kBinaryFunctions[i]) return static_cast<BinaryFunction>(i);
    }
    throw std::invalid_argument("binary: expected the name of a function of two operands, got " + name);
}

}  // namespace convgpu::elementwise
