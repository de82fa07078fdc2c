#include "arrays.h"

#include "../../common/error.h"

namespace convgpu::cpu {
namespace {

// dtypes are told apart by kind and size; the only other one of kind 'V' or 'E' that the package passes is bfloat16.
DType dtype_of(const py::array& array) {
    const auto& type = py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr);
    switch (type->kind) {
        case 'f':
            switch (array.itemsize()) {
                case 2:
                    return DType::kFloat16;
                case 4:
                    return DType::kFloat32;
                case 8:
                    return DType::kFloat64;
            }
            break;
        case 'u':
            if (array.itemsize() == 1) return DType::kUInt8;
            if (array.itemsize() == 2) return DType::kUInt16;
            break;
        case 'i':
            if (array.itemsize() == 4) return DType::kInt32;
            if (array.itemsize() == 8) return DType::kInt64;
            break;
        case 'V':
            if (array.itemsize() == 2) return DType::kBFloat16;
            break;
    }
    throw TypeError("expected a dtype that kernels have, got " + py::str(array.dtype()).cast<std::string>());
}

}  // namespace

Array array_of(const py::array& array) {
    if (array.dtype().byteorder() == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<')) {
        throw TypeError("expected this machine's byte order, got " + py::str(array.dtype()).cast<std::string>());
    }
    Array crossed;
    crossed.data = const_cast<void*>(array.data());
    crossed.shape.assign(array.shape(), array.shape() + array.ndim());
    crossed.strides.assign(array.strides(), array.strides() + array.ndim());
    crossed.dtype = dtype_of(array);
    return crossed;
}

std::vector<Array> arrays_of(const std::vector<py::array>& arrays) {
    std::vector<Array> crossed;
    for (const py::array& array : arrays) crossed.push_back(array_of(array));
    return crossed;
}

void split(const std::vector<std::pair<int64_t, int64_t>>& padding, Shape& before, Shape& after) {
    for (const auto& [b, a] : padding) {
        before.push_back(b);
        after.push_back(a);
    }
}

}  // namespace convgpu::cpu
