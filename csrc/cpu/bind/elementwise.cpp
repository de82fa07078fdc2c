#include "../elementwise.h"

#include "arrays.h"

namespace convgpu::cpu {

void bind_elementwise(py::module_& m) {
    m.def(
        "activate",
        [](const py::array& x, const py::array& y, const std::string& function, double alpha, double scale,
           int threads) {
            const Array in = array_of(x), out = array_of(y);
            const elementwise::Activated<double> by{elementwise::function_of(function), alpha, scale};
            const py::gil_scoped_release unlocked;
            activate(in, out, by, threads);
        },
        "x"_a, "y"_a, "function"_a, "alpha"_a, "scale"_a, "threads"_a);
    m.def(
        "activate_dgrad",
        [](const py::array& gy, const py::array& v, const py::array& gx, const std::string& function, double alpha,
           double scale, int threads) {
            const Array gradients = array_of(gy), values = array_of(v), out = array_of(gx);
            const elementwise::Activated<double> by{elementwise::function_of(function), alpha, scale};
            const py::gil_scoped_release unlocked;
            activate_dgrad(gradients, values, out, by, threads);
        },
        "gy"_a, "v"_a, "gx"_a, "function"_a, "alpha"_a, "scale"_a, "threads"_a);
    m.def(
        "add_n",
        [](const std::vector<py::array>& xs, const py::array& y, int threads) {
            const std::vector<Array> terms = arrays_of(xs);
            const Array out = array_of(y);
            const py::gil_scoped_release unlocked;
            add_n(terms, out, threads);
        },
        "xs"_a, "y"_a, "threads"_a);
    m.def(
        "binary",
        [](const py::array& a, const py::array& b, const py::array& y, const std::string& function, int threads) {
            const Array left = array_of(a), right = array_of(b), out = array_of(y);
            const elementwise::BinaryFunction by = elementwise::binary_function_of(function);
            const py::gil_scoped_release unlocked;
            binary(left, right, out, by, threads);
        },
        "a"_a, "b"_a, "y"_a, "function"_a, "threads"_a);
}

}  // namespace convgpu::cpu
