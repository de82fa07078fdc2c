// The checks that every launcher makes of its arguments. An error states the rule, what was expected, and what was
// given.
#pragma once
#include <initializer_list>
#include <string>

#include "array.h"

namespace convgpu {

// Throws unless the array has this dtype and this shape, and its elements lie in row-major order without gaps.
void check_array(const char* op, const char* name, const Array& array, const Shape& shape, DType dtype);

// Throws unless the array is of one of the four floating dtypes.
void check_float(const char* op, const char* name, const Array& array);

// Returns whether an access of `bytes` bytes may start at p.
inline bool is_aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

}  // namespace convgpu
