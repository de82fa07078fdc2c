#include "../random.h"

#include "arrays.h"

namespace convgpu::cpu {

void bind_random(py::module_& m) {
    m.def(
        "dropout",
        [](const py::array& x, const py::array& y, uint64_t seed, uint64_t stream, uint64_t counter, uint32_t threshold,
           double scale, int threads) {
            const Array in = array_of(x), out = array_of(y);
            const py::gil_scoped_release unlocked;
            dropout(in, out, {seed, stream, counter}, threshold, scale, threads);
        },
        "x"_a, "y"_a, "seed"_a, "stream"_a, "counter"_a, "threshold"_a, "scale"_a, "threads"_a);
    using Draw = void (*)(const Array&, const RandomState&, double, double, int);
    const auto def = [&m](const char* name, Draw launch) {
        m.def(
            name,
            [launch](const py::array& y, uint64_t seed, uint64_t stream, uint64_t counter, double first, double second,
                     int threads) {
                const Array out = array_of(y);
                const py::gil_scoped_release unlocked;
                launch(out, {seed, stream, counter}, first, second, threads);
            },
            "y"_a, "seed"_a, "stream"_a, "counter"_a, "first"_a, "second"_a, "threads"_a);
    };
    def("uniform", uniform);
    def("normal", normal);
    m.def(
        "integers",
        [](const py::array& y, uint64_t seed, uint64_t stream, uint64_t counter, uint64_t low, uint64_t count,
           int threads) {
            const Array out = array_of(y);
            const py::gil_scoped_release unlocked;
            integers(out, {seed, stream, counter}, low, count, threads);
        },
        "y"_a, "seed"_a, "stream"_a, "counter"_a, "low"_a, "count"_a, "threads"_a);
}

}  // namespace convgpu::cpu
