// Every family of kernels (conv, gemm, pool, ...) defines these functions in its own bind.cpp; csrc/bind.cpp calls
// them.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/array.h"
#include "common/workspace.h"

namespace convgpu {

// A plan assumes this alignment unless its caller names another one. Every array that the project allocates has it.
constexpr int kPlannedAlignment = 16;

inline Stream stream_of(uintptr_t stream) { return reinterpret_cast<Stream>(stream); }
inline Workspace workspace_of(uintptr_t pointer, size_t bytes) { return {reinterpret_cast<void*>(pointer), bytes}; }

void bind_conv(pybind11::module_& m);
void bind_gemm(pybind11::module_& m);
void bind_pool(pybind11::module_& m);
void bind_random(pybind11::module_& m);
void bind_layout(pybind11::module_& m);
void bind_norm(pybind11::module_& m);
void bind_optim(pybind11::module_& m);
void bind_elementwise(pybind11::module_& m);
void bind_reduce(pybind11::module_& m);
void bind_softmax(pybind11::module_& m);

}  // namespace convgpu

// An array crosses as a tuple: its address, its shape, its strides in bytes, and NumPy's name of its dtype. A class of
// the module would say the same, and making an object of it would cost more than all else around a small call.
template <>
class pybind11::detail::type_caster<convgpu::Array> {
public:
    static constexpr auto name = const_name("tuple[int, tuple[int, ...], tuple[int, ...], str] | None");
    template <class T>
    using cast_op_type = detail::cast_op_type<T>;

    // Returns false for what is no such tuple; None is a null pointer.
    bool load(handle source, bool) {
        if (source.is_none()) return is_null_ = true;
        if (!PyTuple_Check(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 4) return false;
        const auto item = [&](int i) { return PyTuple_GET_ITEM(source.ptr(), i); };
        if (!PyLong_Check(item(0)) || !PyUnicode_Check(item(3))) return false;
        array_.data = PyLong_AsVoidPtr(item(0));
        const char* dtype = PyUnicode_AsUTF8(item(3));
        if (!read(item(1), array_.shape) || !read(item(2), array_.strides) || PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        array_.dtype = convgpu::dtype_of(dtype);
        return true;
    }
    operator convgpu::Array*() { return is_null_ ? nullptr : &array_; }
    operator convgpu::Array&() { return is_null_ ? throw reference_cast_error() : array_; }

private:
    static bool read(PyObject* tuple, convgpu::Shape& numbers) {
        if (!PyTuple_Check(tuple)) return false;
        numbers.resize(PyTuple_GET_SIZE(tuple));
        for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
        return true;
    }

    bool is_null_ = false;
    convgpu::Array array_;
};
