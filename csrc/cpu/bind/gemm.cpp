#include "../gemm.h"
#include "../moves.h"
#include "arrays.h"

namespace convgpu::cpu {

void bind_gemm(py::module_& m) {
    m.def(
        "gemm",
        [](const py::array& a, const py::array& b, const py::object& c, const py::array& y, double alpha, double beta,
           const std::string& activation, int threads) {
            const Array left = array_of(a), right = array_of(b), out = array_of(y);
            const Maybe addend(c);
            const Activation applied = activation_of(activation);
            const py::gil_scoped_release unlocked;
            gemm(left, right, addend.get(), out, alpha, beta, applied, threads);
        },
        "a"_a, "b"_a, "c"_a.none(true), "y"_a, "alpha"_a, "beta"_a, "activation"_a, "threads"_a);
    m.def(
        "swap_last_axes",
        [](const py::array& x, const py::array& y, int threads) {
            const Array in = array_of(x), out = array_of(y);
            const py::gil_scoped_release unlocked;
            swap_last_axes(in, out, threads);
        },
        "x"_a, "y"_a, "threads"_a);
}

}  // namespace convgpu::cpu
