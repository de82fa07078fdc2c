#include "../softmax.h"

#include "arrays.h"

namespace convgpu::cpu {

void bind_softmax(py::module_& m) {
    m.def(
        "softmax",
        [](const py::array& x, const py::array& y, int64_t axis, bool log_of, int threads) {
            const Array in = array_of(x), out = array_of(y);
            const py::gil_scoped_release unlocked;
            softmax(in, out, axis, log_of, threads);
        },
        "x"_a, "y"_a, "axis"_a, "log_of"_a, "threads"_a);
    m.def(
        "softmax_dgrad",
        [](const py::array& gy, const py::array& y, const py::array& gx, int64_t axis, bool log_of, int threads) {
            const Array g = array_of(gy), result = array_of(y), out = array_of(gx);
            const py::gil_scoped_release unlocked;
            softmax_dgrad(g, result, out, axis, log_of, threads);
        },
        "gy"_a, "y"_a, "gx"_a, "axis"_a, "log_of"_a, "threads"_a);
    m.def(
        "cross_entropy",
        [](const py::array& x, const py::array& labels, const py::array& losses, const py::array& statistics,
           const py::array& flag, int64_t axis, double smoothing, const std::string& reduction, int threads) {
            const Array in = array_of(x), right = array_of(labels), out = array_of(losses),
                        found = array_of(statistics);
            const Array wrong = array_of(flag);
            const Loss loss{axis, smoothing, loss_reduction_of(reduction)};
            const py::gil_scoped_release unlocked;
            cross_entropy(in, right, out, found, wrong, loss, threads);
        },
        "x"_a, "labels"_a, "losses"_a, "statistics"_a, "flag"_a, "axis"_a, "smoothing"_a, "reduction"_a, "threads"_a);
    m.def(
        "cross_entropy_dgrad",
        [](const py::array& x, const py::array& labels, const py::array& statistics, const py::array& g,
           const py::array& gx, int64_t axis, double smoothing, const std::string& reduction, int threads) {
            const Array in = array_of(x), right = array_of(labels), found = array_of(statistics), given = array_of(g);
            const Array out = array_of(gx);
            const Loss loss{axis, smoothing, loss_reduction_of(reduction)};
            const py::gil_scoped_release unlocked;
            cross_entropy_dgrad(in, right, found, given, out, loss, threads);
        },
        "x"_a, "labels"_a, "statistics"_a, "g"_a, "gx"_a, "axis"_a, "smoothing"_a, "reduction"_a, "threads"_a);
}

}  // namespace convgpu::cpu
