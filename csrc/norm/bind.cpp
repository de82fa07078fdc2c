#include "../binding.h"
#include "../common/counters.h"
#include "norm.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {
namespace {

void bind_plan(py::module_& m) {
    py::class_<NormGeometry>(m, "NormGeometry", py::module_local())
        .def(py::init([](int64_t outer, int64_t rows, int64_t channels, int64_t inner, int64_t groups) {
                 const NormGeometry geo{outer, rows, channels, inner, groups};
                 geo.check();
                 return geo;
             }),
             py::kw_only(), "outer"_a, "rows"_a, "channels"_a, "inner"_a, "groups"_a);
    py::class_<norm::Plan>(m, "NormPlan", py::module_local())
        .def_property_readonly("text", &norm::Plan::text)
        .def_property_readonly("launches", &norm::Plan::launches)
        .def_readonly("workspace", &norm::Plan::workspace);
    m.attr("COUNTERS") = kCounters;
    m.def(
        "plan_norm",
        [](const std::string& op, const NormGeometry& geo, const std::string& dtype, const norm::Wanted& wanted,
           int alignment, const std::optional<Device>& device, std::optional<size_t> limit) {
            return norm::plan(norm::op_of(op), geo, dtype_of(dtype), wanted, alignment,
                              device ? *device : current_device(), limit.value_or(kWorkspaceLimit));
        },
        "op"_a, "geo"_a, "dtype"_a, "wanted"_a = norm::Wanted{}, "alignment"_a = kPlannedAlignment,
        "device"_a = py::none(), "limit"_a = py::none());
}

}  // namespace

void bind_norm(py::module_& m) {
    bind_plan(m);
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "norm_stats",
        [](const Array& x, const Array* running_mean, const Array* running_var, const Array& mean, const Array& rstd,
           const Array* new_mean, const Array* new_var, const Array& counters, const NormGeometry& geo,
           const norm::Plan& plan, double epsilon, double momentum, int64_t correction, uintptr_t workspace,
           size_t bytes, uintptr_t stream) {
            norm::norm_stats(x, running_mean, running_var, mean, rstd, new_mean, new_var, counters, geo, plan, epsilon,
                             momentum, correction, workspace_of(workspace, bytes), stream_of(stream));
        },
        "x"_a, "running_mean"_a.none(true), "running_var"_a.none(true), "mean"_a, "rstd"_a, "new_mean"_a.none(true),
        "new_var"_a.none(true), "counters"_a, "geo"_a, "plan"_a, "epsilon"_a, "momentum"_a, "correction"_a,
        "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "norm_apply",
        [](const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
           const Array& y, const NormGeometry& geo, const norm::Plan& plan, const std::string& activation,
           uintptr_t stream) {
            norm::norm_apply(x, mean, rstd, scale, offset, y, geo, plan, activation, stream_of(stream));
        },
        "x"_a, "mean"_a, "rstd"_a, "scale"_a.none(true), "offset"_a.none(true), "y"_a, "geo"_a, "plan"_a,
        "activation"_a, "stream"_a, Unlocked());
    m.def(
        "norm_apply_add",
        [](const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
           const Array& residual, const Array& y, const NormGeometry& geo, const norm::Plan& plan,
           const std::string& activation, uintptr_t stream) {
            norm::norm_apply_add(x, mean, rstd, scale, offset, residual, y, geo, plan, activation, stream_of(stream));
        },
        "x"_a, "mean"_a, "rstd"_a, "scale"_a.none(true), "offset"_a.none(true), "residual"_a, "y"_a, "geo"_a, "plan"_a,
        "activation"_a, "stream"_a, Unlocked());
    m.def(
        "norm_infer",
        [](const Array& x, const Array& mean, const Array& var, const Array* scale, const Array* offset,
           const Array* residual, const Array& y, const NormGeometry& geo, const norm::Plan& plan,
           const std::string& activation, double epsilon, uintptr_t stream) {
            norm::norm_infer(x, mean, var, scale, offset, residual, y, geo, plan, activation, epsilon,
                             stream_of(stream));
        },
        "x"_a, "mean"_a, "var"_a, "scale"_a.none(true), "offset"_a.none(true), "residual"_a.none(true), "y"_a, "geo"_a,
        "plan"_a, "activation"_a, "epsilon"_a, "stream"_a, Unlocked());
    m.def(
        "norm_fold",
        [](const Array& mean, const Array& var, const Array* scale, const Array* offset, const Array* bias,
           const Array& folded, const NormGeometry& geo, const norm::Plan& plan, double epsilon, uintptr_t stream) {
            norm::norm_fold(mean, var, scale, offset, bias, folded, geo, plan, epsilon, stream_of(stream));
        },
        "mean"_a, "var"_a, "scale"_a.none(true), "offset"_a.none(true), "bias"_a.none(true), "folded"_a, "geo"_a,
        "plan"_a, "epsilon"_a, "stream"_a, Unlocked());
    m.def(
        "norm_dgrad",
        [](const Array& gy, const Array& x, const Array& mean, const Array& rstd, const Array* scale,
           const Array* offset, const Array* y, const Array* gx, const Array* gscale, const Array* goffset,
           const Array* gresidual, const Array* means, const Array& counters, const NormGeometry& geo,
           const norm::Plan& plan, const std::string& activation, uintptr_t workspace, size_t bytes, uintptr_t stream) {
            norm::norm_dgrad(gy, x, mean, rstd, scale, offset, y, gx, gscale, goffset, gresidual, means, counters, geo,
                             plan, activation, workspace_of(workspace, bytes), stream_of(stream));
        },
        "gy"_a, "x"_a, "mean"_a, "rstd"_a, "scale"_a.none(true), "offset"_a.none(true), "y"_a.none(true),
        "gx"_a.none(true), "gscale"_a.none(true), "goffset"_a.none(true), "gresidual"_a.none(true),
        "means"_a.none(true), "counters"_a, "geo"_a, "plan"_a, "activation"_a, "workspace"_a, "workspace_bytes"_a,
        "stream"_a, Unlocked());
}

}  // namespace convgpu
