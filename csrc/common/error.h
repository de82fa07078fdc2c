// The errors that cross the binding. ValueError, for shapes and options, is std::invalid_argument; a machine's own
// failures are std::runtime_error.
#pragma once
#include <stdexcept>

namespace convgpu {

// An error about dtypes, which Python sees as a TypeError.
struct TypeError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace convgpu
