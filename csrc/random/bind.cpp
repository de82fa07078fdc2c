#include "../binding.h"
#include "random.h"

namespace py = pybind11;
using namespace py::literals;

namespace {

// Binds a draw of floating numbers, which has two parameters.
template <class Launcher>
void bind_draw(py::module_& m, const char* name, Launcher launcher, const char* first, const char* second) {
    using namespace convgpu;
    m.def(
        name,
        [launcher](const Array& state, const Array& y, const Array& next, const random::Plan& plan, double a, double b,
                   uintptr_t stream) { launcher(state, y, next, plan, a, b, stream_of(stream)); },
        "state"_a, "y"_a, "next"_a, "plan"_a, py::arg(first), py::arg(second), "stream"_a,
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void convgpu::bind_random(py::module_& m) {
    py::class_<random::Plan>(m, "RandomPlan", py::module_local())
        .def_property_readonly("text", &random::Plan::text)
        .def_property_readonly("launches", &random::Plan::launches)
        .def_property_readonly("workspace", [](const random::Plan&) { return 0; });
    m.def(
        "plan_random",
        [](const std::string& op, int64_t size, const std::string& dtype, int alignment) {
            return random::plan(random::op_of(op), size, dtype_of(dtype), alignment);
        },
        "op"_a, "size"_a, "dtype"_a, "alignment"_a = kPlannedAlignment);
    m.def(
        "dropout",
        [](const Array& x, const Array& state, const Array& y, const Array& next, const random::Plan& plan, double rate,
           uintptr_t stream) { random::dropout(x, state, y, next, plan, rate, stream_of(stream)); },
        "x"_a, "state"_a, "y"_a, "next"_a, "plan"_a, "rate"_a, "stream"_a, py::call_guard<py::gil_scoped_release>());
    bind_draw(m, "uniform", random::uniform, "low", "high");
    bind_draw(m, "normal", random::normal, "mean", "std");
    m.def(
        "integers",
        [](const Array& state, const Array& y, const Array& next, const random::Plan& plan, int64_t low, uint64_t count,
           uintptr_t stream) { random::integers(state, y, next, plan, low, count, stream_of(stream)); },
        "state"_a, "y"_a, "next"_a, "plan"_a, "low"_a, "count"_a, "stream"_a, py::call_guard<py::gil_scoped_release>());
}
