#include "../binding.h"
#include "reduce.h"

namespace py = pybind11;
using namespace py::literals;

void convgpu::bind_reduce(py::module_& m) {
    py::class_<reduce::Plan>(m, "ReducePlan", py::module_local())
        .def_property_readonly("text", &reduce::Plan::text)
        .def_property_readonly("launches", &reduce::Plan::launches)
        .def_readonly("workspace", &reduce::Plan::workspace);
    m.def(
        "plan_reduce",
        [](const std::string& function, const Shape& x, const std::vector<int>& axes, const std::string& dtype,
           int alignment, const std::optional<Device>& device, std::optional<size_t> limit) {
            return reduce::plan(reduce::function_of(function), x, axes, dtype_of(dtype), alignment,
                                device ? *device : current_device(), limit.value_or(kWorkspaceLimit));
        },
        "function"_a, "x"_a, "axes"_a, "dtype"_a, "alignment"_a = kPlannedAlignment, "device"_a = py::none(),
        "limit"_a = py::none());
    m.def(
        "reduce",
        [](const Array& x, const Array& y, const reduce::Plan& plan, uintptr_t workspace, size_t bytes,
           uintptr_t stream) { reduce::reduce(x, y, plan, workspace_of(workspace, bytes), stream_of(stream)); },
        "x"_a, "y"_a, "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a,
        py::call_guard<py::gil_scoped_release>());
}
