#include "../binding.h"
#include "softmax.h"

namespace py = pybind11;
using namespace py::literals;

void convgpu::bind_softmax(py::module_& m) {
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    py::class_<softmax::Plan>(m, "SoftmaxPlan", py::module_local())
        .def_property_readonly("text", &softmax::Plan::text)
        .def_property_readonly("launches", &softmax::Plan::launches)
        .def_readonly("workspace", &softmax::Plan::workspace);
    m.def(
        "plan_softmax",
        [](const std::string& op, const Shape& x, int axis, const std::string& dtype, int alignment) {
            return softmax::plan(softmax::op_of(op), x, axis, dtype_of(dtype), alignment);
        },
        "op"_a, "x"_a, "axis"_a, "dtype"_a, "alignment"_a = kPlannedAlignment);
    m.def(
        "softmax",
        [](const Array& x, const Array& y, const softmax::Plan& plan, bool log_of, uintptr_t stream) {
            softmax::softmax(x, y, plan, log_of, stream_of(stream));
        },
        "x"_a, "y"_a, "plan"_a, "log_of"_a, "stream"_a, Unlocked());
    m.def(
        "softmax_dgrad",
        [](const Array& gy, const Array& y, const Array& gx, const softmax::Plan& plan, bool log_of, uintptr_t stream) {
            softmax::softmax_dgrad(gy, y, gx, plan, log_of, stream_of(stream));
        },
        "gy"_a, "y"_a, "gx"_a, "plan"_a, "log_of"_a, "stream"_a, Unlocked());
    m.def(
        "cross_entropy",
        [](const Array& x, const Array& labels, const Array& y, const Array& statistics, const Array& flag,
           const softmax::Plan& plan, double smoothing, const std::string& reduction, uintptr_t workspace, size_t bytes,
           uintptr_t stream) {
            softmax::cross_entropy(x, labels, y, statistics, flag, plan, smoothing, softmax::reduction_of(reduction),
                                   workspace_of(workspace, bytes), stream_of(stream));
        },
        "x"_a, "labels"_a, "y"_a, "statistics"_a, "flag"_a, "plan"_a, "smoothing"_a, "reduction"_a, "workspace"_a,
        "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "cross_entropy_dgrad",
        [](const Array& x, const Array& labels, const Array& statistics, const Array& g, const Array& gx,
           const softmax::Plan& plan, double smoothing, const std::string& reduction, uintptr_t stream) {
            softmax::cross_entropy_dgrad(x, labels, statistics, g, gx, plan, smoothing,
                                         softmax::reduction_of(reduction), stream_of(stream));
        },
        "x"_a, "labels"_a, "statistics"_a, "g"_a, "gx"_a, "plan"_a, "smoothing"_a, "reduction"_a, "stream"_a,
        Unlocked());
}
