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
}

}  // namespace convgpu::cpu
