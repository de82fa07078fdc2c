#include "../binding.h"
#include "random.h"

namespace py = pybind11;
using namespace py::literals;

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
        [](const Array& x, const Array& y, const random::Plan& plan, uint64_t seed, uint64_t sequence, uint64_t counter,
           double rate,
           uintptr_t stream) { random::dropout(x, y, plan, {seed, sequence, counter}, rate, stream_of(stream)); },
        "x"_a, "y"_a, "plan"_a, "seed"_a, "sequence"_a, "counter"_a, "rate"_a, "stream"_a,
        py::call_guard<py::gil_scoped_release>());
}
