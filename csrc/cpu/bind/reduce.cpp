#include "../reduce.h"

#include "arrays.h"

namespace convgpu::cpu {

void bind_reduce(py::module_& m) {
    m.def(
        "reduce",
        [](const py::array& x, const py::array& y, const std::string& function, int threads) {
            const Array in = array_of(x), out = array_of(y);
            const Reduction by = reduction_of(function);
            const py::gil_scoped_release unlocked;
            reduce(in, out, by, threads);
        },
        "x"_a, "y"_a, "function"_a, "threads"_a);
}

}  // namespace convgpu::cpu
