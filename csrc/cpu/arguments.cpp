#include "arguments.h"

#include <stdexcept>

#include "../common/check.h"
#include "../common/error.h"

namespace convgpu::cpu {
namespace {

int64_t step(const Array& array, size_t axis) {
    // An axis of one element may have any stride; no kernel uses it.
    return array.shape[axis] <= 1 ? 0 : array.strides[axis] / static_cast<int64_t>(size_of(array.dtype));
}

}  // namespace

void check_view(const char* op, const char* name, const Array& array, const Shape& shape, DType dtype) {
    const std::string rule = std::string(op) + ": expected " + name;
    if (array.dtype != dtype) {
        throw TypeError(rule + " of dtype " + name_of(dtype) + ", got " + name_of(array.dtype));
    }
    if (array.shape != shape) {
        throw std::invalid_argument(rule + " of shape " + text_of(shape) + ", got " + text_of(array.shape));
    }
    if (array.size() == 0) return;
    const auto bytes = static_cast<int64_t>(size_of(dtype));
    if (!is_aligned(array.data, bytes)) {
        throw std::invalid_argument(rule + " aligned to " + std::to_string(bytes) +
                                    " bytes, got an address of remainder " +
                                    std::to_string(reinterpret_cast<uintptr_t>(array.data) % bytes));
    }
    for (size_t axis = 0; axis < shape.size(); ++axis) {
        if (shape[axis] > 1 && array.strides[axis] % bytes != 0) {
            throw std::invalid_argument(rule + " with strides of whole elements of " + std::to_string(bytes) +
                                        " bytes, got strides " + text_of(array.strides));
        }
    }
}

Images images_of(const Array& array, bool channels_last) {
    Images images;
    const size_t rank = array.shape.size() - 2, channel = channels_last ? rank + 1 : 1, first = channels_last ? 1 : 2;
    images.data = array.as<char>();
    images.batch = array.shape[0];
    images.step_n = step(array, 0);
    images.channels = array.shape[channel];
    // One channel is a neighbour of itself, so that kernels read it where it is.
    images.step_c = images.channels == 1 ? 1 : step(array, channel);
    for (size_t a = 0; a < rank; ++a) {
        images.size[kAxes - rank + a] = array.shape[first + a];
        images.step[kAxes - rank + a] = step(array, first + a);
    }
    return images;
}

Filters filters_of(const Array& array, bool channels_last) {
    Filters filters;
    const size_t rank = array.shape.size() - 2, first = channels_last ? 0 : 2;
    filters.data = array.as<char>();
    for (size_t a = 0; a < rank; ++a) filters.step[kAxes - rank + a] = step(array, first + a);
    filters.step_c = step(array, channels_last ? rank : 1);
    filters.step_k = step(array, channels_last ? rank + 1 : 0);
    return filters;
}

Matrices matrices_of(const Array& array) {
    Matrices m;
    m.data = array.as<char>();
    m.step_n = step(array, 0);
    m.step_i = step(array, 1);
    m.step_j = array.shape[2] == 1 ? 1 : step(array, 2);
    return m;
}

}  // namespace convgpu::cpu
