#include "../binding.h"
#include "layout.h"

namespace py = pybind11;

void convgpu::bind_layout(py::module_& m) {
    const auto def = [&m](const char* name, void (*launcher)(const Array&, const Array&, Stream)) {
        m.def(
            name,
            [launcher](const Array& x, const Array& y, uintptr_t stream) {
                launcher(x, y, reinterpret_cast<Stream>(stream));
            },
            py::arg("x"), py::arg("y"), py::arg("stream"), py::call_guard<py::gil_scoped_release>());
    };
    def("nchw_to_nhwc", layout::nchw_to_nhwc);
    def("nhwc_to_nchw", layout::nhwc_to_nchw);
    def("oihw_to_hwio", layout::oihw_to_hwio);
    def("hwio_to_oihw", layout::hwio_to_oihw);
    m.def(
        "plan_layout",
        [](const std::string& op, const Shape& x, const std::string& dtype) {
            return layout::plan(op, x, dtype_of(dtype));
        },
        py::arg("op"), py::arg("x"), py::arg("dtype"));
}
