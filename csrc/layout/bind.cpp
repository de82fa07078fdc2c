#include "../binding.h"
#include "layout.h"

namespace py = pybind11;
using namespace py::literals;

void convgpu::bind_layout(py::module_& m) {
    py::class_<layout::Plan>(m, "LayoutPlan", py::module_local())
        .def_property_readonly("text", &layout::Plan::text)
        .def_property_readonly("launches", &layout::Plan::launches)
        .def_property_readonly("workspace", [](const layout::Plan&) { return 0; });
    m.def(
        "plan_layout",
        [](const std::string& op, const Shape& x, const std::string& dtype, int alignment) {
            return layout::plan(layout::op_of(op), x, dtype_of(dtype), alignment);
        },
        "op"_a, "x"_a, "dtype"_a, "alignment"_a = kPlannedAlignment);
    const auto def = [&m](const char* name, void (*launcher)(const Array&, const Array&, const layout::Plan&, Stream)) {
        m.def(
            name,
            [launcher](const Array& x, const Array& y, const layout::Plan& plan, uintptr_t stream) {
                launcher(x, y, plan, stream_of(stream));
            },
            "x"_a, "y"_a, "plan"_a, "stream"_a, py::call_guard<py::gil_scoped_release>());
    };
    def("nchw_to_nhwc", layout::nchw_to_nhwc);
    def("nhwc_to_nchw", layout::nhwc_to_nchw);
    def("oihw_to_hwio", layout::oihw_to_hwio);
    def("hwio_to_oihw", layout::hwio_to_oihw);
}
