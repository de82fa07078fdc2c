#include "check.h"

#include <stdexcept>

#include "error.h"

namespace convgpu {
namespace {

bool is_row_major(const Array& array) {
    auto expected = static_cast<int64_t>(size_of(array.dtype));
    for (size_t axis = array.shape.size(); axis-- > 0;) {
        if (array.shape[axis] != 1 && array.strides[axis] != expected) return false;
        expected *= array.shape[axis];
    }
    return true;
}

std::string rule(const char* op, const char* name) { return std::string(op) + ": expected " + name; }

}  // namespace

void check_array(const char* op, const char* name, const Array& array, const Shape& shape, DType dtype) {
    if (array.dtype != dtype) {
        throw TypeError(rule(op, name) + " of dtype " + name_of(dtype) + ", got " + name_of(array.dtype));
    }
    if (array.shape != shape) {
        throw std::invalid_argument(rule(op, name) + " of shape " + text_of(shape) + ", got " + text_of(array.shape));
    }
    if (array.size() != 0 && !is_row_major(array)) {
        throw std::invalid_argument(rule(op, name) + " in row-major order without gaps, got strides " +
                                    text_of(array.strides) + " for shape " + text_of(shape) + " of " + name_of(dtype));
    }
    if (array.size() != 0 && !is_aligned(array.data, size_of(dtype))) {
        throw std::invalid_argument(rule(op, name) + " aligned to " + std::to_string(size_of(dtype)) +
                                    " bytes, got an address of remainder " +
                                    std::to_string(reinterpret_cast<uintptr_t>(array.data) % size_of(dtype)));
    }
}

void check_float(const char* op, const char* name, const Array& array) {
    if (array.dtype > DType::kFloat64) {
        throw TypeError(rule(op, name) + " of dtype float16, bfloat16, float32 or float64, got " +
                        name_of(array.dtype));
    }
}

}  // namespace convgpu
