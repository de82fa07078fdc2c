// An array as it crosses the binding: memory that somebody else owns, on the machine that will run the kernels.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

struct CUstream_st;

namespace convgpu {

using Stream = CUstream_st*;  // the caller's stream: kernels that are queued there run in order

enum class DType { kFloat16, kBFloat16, kFloat32, kFloat64, kUInt8, kUInt16, kInt32, kInt64, kUInt32, kUInt64 };

size_t size_of(DType dtype);
const char* name_of(DType dtype);
DType dtype_of(const std::string& name);  // takes NumPy's name of the dtype; throws TypeError for any other name

using Shape = std::vector<int64_t>;

struct Array {
    void* data = nullptr;
    Shape shape;
    Shape strides;  // in bytes
    DType dtype = DType::kFloat32;

    int64_t size() const;  // the number of elements

    template <class T>
    T* as() const {
        return static_cast<T*>(data);
    }
};

std::string text_of(const Shape& shape);  // "(2, 3, 4)", as Python prints it

}  // namespace convgpu
