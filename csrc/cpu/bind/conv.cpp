#include "../conv.h"
#include "arrays.h"

namespace convgpu::cpu {

void bind_conv(py::module_& m) {
    py::class_<ConvProblem>(m, "ConvGeometry", py::module_local())
        .def(py::init([](int64_t batch, int64_t channels, int64_t filters, const Shape& size, const Shape& kernel,
                         const Shape& stride, const std::vector<std::pair<int64_t, int64_t>>& padding,
                         const Shape& dilation, int64_t groups, bool channels_last) {
                 ConvGeometry geo{batch, channels, filters,  size,   kernel,        stride,
                                  {},    {},       dilation, groups, channels_last, {}};
                 split(padding, geo.before, geo.after);
                 geo.check();
                 return ConvProblem(geo);
             }),
             py::kw_only(), "batch"_a, "channels"_a, "filters"_a, "size"_a, "kernel"_a, "stride"_a, "padding"_a,
             "dilation"_a, "groups"_a, "channels_last"_a)
        .def_property_readonly("output", [](const ConvProblem& problem) { return problem.geo.output; });
    using Launch =
        void (*)(const Array&, const Array&, const Array*, const Array&, const ConvProblem&, Activation, int);
    const auto def = [&m](const char* name, Launch launch) {
        m.def(
            name,
            [launch](const py::array& x, const py::array& w, const py::object& bias, const py::array& y,
                     const ConvProblem& problem, const std::string& activation, int threads) {
                const Array in = array_of(x), filters = array_of(w), out = array_of(y);
                const Maybe added(bias);
                const Activation applied = activation_of(activation);
                const py::gil_scoped_release unlocked;
                launch(in, filters, added.get(), out, problem, applied, threads);
            },
            "x"_a, "w"_a, "bias"_a.none(true), "y"_a, "geo"_a, "activation"_a, "threads"_a);
    };
    def("conv_fprop", conv_fprop);
    def("conv_dgrad", conv_dgrad);
    m.def(
        "conv_wgrad",
        [](const py::array& x, const py::array& gy, const py::array& gw, const ConvProblem& problem, int threads) {
            const Array in = array_of(x), gradients = array_of(gy), out = array_of(gw);
            const py::gil_scoped_release unlocked;
            conv_wgrad(in, gradients, out, problem, threads);
        },
        "x"_a, "gy"_a, "gw"_a, "geo"_a, "threads"_a);
    m.def(
        "channel_sum",
        [](const py::array& gy, const py::array& gb, bool channels_last, int threads) {
            const Array gradients = array_of(gy), out = array_of(gb);
            const py::gil_scoped_release unlocked;
            channel_sum(gradients, out, channels_last, threads);
        },
        "gy"_a, "gb"_a, "channels_last"_a, "threads"_a);
}

}  // namespace convgpu::cpu
