#include "../norm.h"

#include "arrays.h"

namespace convgpu::cpu {

void bind_norm(py::module_& m) {
    py::class_<NormGeometry>(m, "NormGeometry", py::module_local())
        .def(py::init([](int64_t outer, int64_t rows, int64_t channels, int64_t inner, int64_t groups) {
                 const NormGeometry geo{outer, rows, channels, inner, groups};
                 geo.check();
                 return geo;
             }),
             py::kw_only(), "outer"_a, "rows"_a, "channels"_a, "inner"_a, "groups"_a);
    m.def(
        "norm_stats",
        [](const py::array& x, const py::object& running_mean, const py::object& running_var, const py::array& mean,
           const py::array& rstd, const py::object& new_mean, const py::object& new_var, const NormGeometry& geo,
           double epsilon, double momentum, int64_t correction, int threads) {
            const Array in = array_of(x), found = array_of(mean), rate = array_of(rstd);
            const Maybe old_mean(running_mean), old_var(running_var), mean_out(new_mean), var_out(new_var);
            const py::gil_scoped_release unlocked;
            norm_stats(in, found, rate,
                       {old_mean.get(), old_var.get(), mean_out.get(), var_out.get(), momentum, correction}, geo,
                       epsilon, threads);
        },
        "x"_a, "running_mean"_a.none(true), "running_var"_a.none(true), "mean"_a, "rstd"_a, "new_mean"_a.none(true),
        "new_var"_a.none(true), "geo"_a, "epsilon"_a, "momentum"_a, "correction"_a, "threads"_a);
    m.def(
        "norm_apply",
        [](const py::array& x, const py::array& mean, const py::array& rstd, const py::object& scale,
           const py::object& offset, const py::object& residual, const py::array& y, const NormGeometry& geo,
           const std::string& activation, int threads) {
            const Array in = array_of(x), means = array_of(mean), rates = array_of(rstd), out = array_of(y);
            const Maybe by(scale), plus(offset), beside(residual);
            const NormActivation applied = norm_activation_of(activation);
            const py::gil_scoped_release unlocked;
            norm_apply(in, means, rates, by.get(), plus.get(), beside.get(), out, geo, applied, threads);
        },
        "x"_a, "mean"_a, "rstd"_a, "scale"_a.none(true), "offset"_a.none(true), "residual"_a.none(true), "y"_a, "geo"_a,
        "activation"_a, "threads"_a);
    m.def(
        "norm_infer",
        [](const py::array& x, const py::array& mean, const py::array& var, const py::object& scale,
           const py::object& offset, const py::object& residual, const py::array& y, const NormGeometry& geo,
           const std::string& activation, double epsilon, int threads) {
            const Array in = array_of(x), means = array_of(mean), vars = array_of(var), out = array_of(y);
            const Maybe by(scale), plus(offset), beside(residual);
            const NormActivation applied = norm_activation_of(activation);
            const py::gil_scoped_release unlocked;
            norm_infer(in, means, vars, by.get(), plus.get(), beside.get(), out, geo, applied, epsilon, threads);
        },
        "x"_a, "mean"_a, "var"_a, "scale"_a.none(true), "offset"_a.none(true), "residual"_a.none(true), "y"_a, "geo"_a,
        "activation"_a, "epsilon"_a, "threads"_a);
    m.def(
        "norm_dgrad",
        [](const py::array& gy, const py::array& x, const py::array& mean, const py::array& rstd,
           const py::object& scale, const py::object& offset, const py::object& y, const py::object& gx,
           const py::object& gscale, const py::object& goffset, const py::object& gresidual, const NormGeometry& geo,
           const std::string& activation, int threads) {
            const Array g = array_of(gy), in = array_of(x), means = array_of(mean), rates = array_of(rstd);
            const Maybe by(scale), plus(offset), result(y), a(gx), b(gscale), c(goffset), d(gresidual);
            const NormActivation applied = norm_activation_of(activation);
            const py::gil_scoped_release unlocked;
            norm_dgrad(g, in, means, rates, by.get(), plus.get(), result.get(), {a.get(), b.get(), c.get(), d.get()},
                       geo, applied, threads);
        },
        "gy"_a, "x"_a, "mean"_a, "rstd"_a, "scale"_a.none(true), "offset"_a.none(true), "y"_a.none(true),
        "gx"_a.none(true), "gscale"_a.none(true), "goffset"_a.none(true), "gresidual"_a.none(true), "geo"_a,
        "activation"_a, "threads"_a);
}

}  // namespace convgpu::cpu
