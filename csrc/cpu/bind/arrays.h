// NumPy's arrays as the ops take them, read through their buffers, and what the families bind.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../../common/array.h"

namespace convgpu::cpu {

namespace py = pybind11;
using namespace py::literals;

Array array_of(const py::array& array);
std::vector<Array> arrays_of(const std::vector<py::array>& arrays);

// An array that may be absent.
struct Maybe {
    explicit Maybe(const py::object& object) : there(!object.is_none()) {
        if (there) array = array_of(py::reinterpret_borrow<py::array>(object));
    }
    const Array* get() const { return there ? &array : nullptr; }
    bool there;
    Array array;
};

// Pairs of (before, after), one per axis, as a geometry holds them.
void split(const std::vector<std::pair<int64_t, int64_t>>& padding, Shape& before, Shape& after);

void bind_conv(py::module_& m);
void bind_elementwise(py::module_& m);
void bind_gemm(py::module_& m);
void bind_norm(py::module_& m);
void bind_optim(py::module_& m);
void bind_pool(py::module_& m);
void bind_reduce(py::module_& m);
void bind_softmax(py::module_& m);
void bind_random(py::module_& m);

}  // namespace convgpu::cpu
