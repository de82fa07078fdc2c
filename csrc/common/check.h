// What every launcher asks of its arguments. Errors carry rule, expected and got.
#pragma once
#include <initializer_list>
#include <string>

#include "array.h"

namespace convgpu {

// A dtype, a shape, and elements in row-major order without gaps.
void check_array(const char* op, const char* name, const Array& array, const Shape& shape, DType dtype);

// One of the four floating types.
void check_float(const char* op, const char* name, const Array& array);

// Whether vectors of `bytes` bytes may start at p.
inline bool is_aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

}  // namespace convgpu
