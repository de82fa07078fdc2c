#include "../binding.h"
#include "elementwise.h"

namespace py = pybind11;
using namespace py::literals;

void convgpu::bind_elementwise(py::module_& m) {
    py::class_<elementwise::Plan>(m, "ElementwisePlan", py::module_local())
        .def_property_readonly("text", &elementwise::Plan::text)
        .def_property_readonly("launches", &elementwise::Plan::launches)
        .def_property_readonly("workspace", [](const elementwise::Plan&) { return 0; });
    m.def(
        "plan_elementwise",
        [](const std::string& op, int64_t size, const std::string& dtype, int alignment) {
            return elementwise::plan(elementwise::op_of(op), size, dtype_of(dtype), alignment);
        },
        "op"_a, "size"_a, "dtype"_a, "alignment"_a = kPlannedAlignment);
    m.def(
        "activate",
        [](const Array& x, const Array& y, const elementwise::Plan& plan, const std::string& function, double alpha,
           double scale, uintptr_t stream) {
            elementwise::activate(x, y, plan, {elementwise::function_of(function), alpha, scale}, stream_of(stream));
        },
        "x"_a, "y"_a, "plan"_a, "function"_a, "alpha"_a, "scale"_a, "stream"_a,
        py::call_guard<py::gil_scoped_release>());
    m.def(
        "activate_dgrad",
        [](const Array& gy, const Array& v, const Array& gx, const elementwise::Plan& plan, const std::string& function,
           double alpha, double scale, uintptr_t stream) {
            elementwise::activate_dgrad(gy, v, gx, plan, {elementwise::function_of(function), alpha, scale},
                                        stream_of(stream));
        },
        "gy"_a, "v"_a, "gx"_a, "plan"_a, "function"_a, "alpha"_a, "scale"_a, "stream"_a,
        py::call_guard<py::gil_scoped_release>());
    py::class_<elementwise::BinaryPlan>(m, "BinaryPlan", py::module_local())
        .def_property_readonly("text", &elementwise::BinaryPlan::text)
        .def_property_readonly("launches", &elementwise::BinaryPlan::launches)
        .def_property_readonly("workspace", [](const elementwise::BinaryPlan&) { return 0; });
    m.def(
        "plan_binary",
        [](const Shape& a, const Shape& b, const Shape& y, const std::string& dtype, int alignment) {
            return elementwise::plan_binary(a, b, y, dtype_of(dtype), alignment);
        },
        "a"_a, "b"_a, "y"_a, "dtype"_a, "alignment"_a = kPlannedAlignment);
    m.def(
        "binary",
        [](const Array& a, const Array* b, const Array& y, const elementwise::BinaryPlan& plan,
           const std::string& function, double number, uintptr_t stream) {
            elementwise::binary(a, b, y, plan, elementwise::binary_function_of(function), number, stream_of(stream));
        },
        "a"_a, "b"_a, "y"_a, "plan"_a, "function"_a, "number"_a, "stream"_a, py::call_guard<py::gil_scoped_release>());
    // Its arguments are the terms, the sum, the plan and the stream.
    m.def("add_n", [](const py::args& arguments) {
        const size_t terms = arguments.size() < 3 ? 0 : arguments.size() - 3;
        if (terms == 0) throw std::invalid_argument("add_n: expected arrays, their sum, the plan and the stream");
        std::vector<Array> xs;
        for (size_t k = 0; k < terms; ++k) xs.push_back(arguments[k].cast<Array>());
        const auto y = arguments[terms].cast<Array>();
        const auto plan = arguments[terms + 1].cast<elementwise::Plan>();
        const auto stream = arguments[terms + 2].cast<uintptr_t>();
        py::gil_scoped_release released;
        elementwise::add_n(xs, y, plan, stream_of(stream));
    });
}
