#include "../binding.h"
#include "conv.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {
namespace {

void bind_geometry(py::module_& m) {
    py::class_<ConvGeometry>(m, "ConvGeometry", py::module_local())
        .def(py::init([](int64_t batch, int64_t channels, int64_t filters, const Shape& size, const Shape& kernel,
                         const Shape& stride, const std::vector<std::pair<int64_t, int64_t>>& padding,
                         const Shape& dilation, int64_t groups, bool channels_last) {
                 ConvGeometry geo{batch, channels, filters,  size,   kernel,        stride,
                                  {},    {},       dilation, groups, channels_last, {}};
                 for (const auto& [before, after] : padding) {
                     geo.before.push_back(before);
                     geo.after.push_back(after);
                 }
                 geo.check();
                 return geo;
             }),
             py::kw_only(), "batch"_a, "channels"_a, "filters"_a, "size"_a, "kernel"_a, "stride"_a, "padding"_a,
             "dilation"_a, "groups"_a, "channels_last"_a)
        .def_readonly("output", &ConvGeometry::output);
}

// Returns the given device, or the one in use if none is given.
Device device_of(const std::optional<Device>& device) { return device ? *device : current_device(); }

void bind_plans(py::module_& m) {
    py::class_<conv::Plan>(m, "ConvPlan", py::module_local())
        .def_property_readonly("text", &conv::Plan::text)
        .def_property_readonly("launches", &conv::Plan::launches)
        .def_property_readonly("clocks", &conv::Plan::clocks)
        .def_readonly("workspace", &conv::Plan::workspace);
    m.def(
        "plan_conv",
        [](const std::string& op, const ConvGeometry& geo, const std::string& dtype, const std::string& precision,
           int alignment, const std::optional<Device>& device, std::optional<size_t> limit) {
            const conv::Problem problem{conv::direction_of(op), geo, dtype_of(dtype), precision_of(precision),
                                        alignment};
            return conv::plan(problem, device_of(device), limit);
        },
        "op"_a, "geo"_a, "dtype"_a, "precision"_a = "float32", "alignment"_a = kPlannedAlignment,
        "device"_a = py::none(), "limit"_a = py::none());
    py::class_<conv::ChannelSumPlan>(m, "ChannelSumPlan", py::module_local())
        .def_property_readonly("text", &conv::ChannelSumPlan::text)
        .def_property_readonly("launches", &conv::ChannelSumPlan::launches)
        .def_readonly("workspace", &conv::ChannelSumPlan::workspace);
    m.def(
        "plan_channel_sum",
        [](const Shape& gy, bool channels_last, const std::string& dtype, int alignment,
           const std::optional<Device>& device, std::optional<size_t> limit) {
            return conv::plan_channel_sum(gy, channels_last, dtype_of(dtype), alignment, device_of(device),
                                          limit.value_or(kWorkspaceLimit));
        },
        "gy"_a, "channels_last"_a, "dtype"_a, "alignment"_a = kPlannedAlignment, "device"_a = py::none(),
        "limit"_a = py::none());
}

}  // namespace

void bind_conv(py::module_& m) {
    bind_geometry(m);
    bind_plans(m);
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "conv_fprop",
        [](const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
           const conv::Plan& plan, const std::string& activation, uintptr_t workspace, size_t bytes, uintptr_t stream) {
            conv::conv_fprop(x, w, bias, y, geo, plan, activation_of(activation), workspace_of(workspace, bytes),
                             stream_of(stream));
        },
        "x"_a, "w"_a, "bias"_a.none(true), "y"_a, "geo"_a, "plan"_a, "activation"_a, "workspace"_a, "workspace_bytes"_a,
        "stream"_a, Unlocked());
    m.def(
        "conv_norm",
        [](const Array& x, const Array& w, const Array& folded, const Array* residual, const Array& y,
           const ConvGeometry& geo, const conv::Plan& plan, const std::string& activation, uintptr_t workspace,
           size_t bytes, uintptr_t stream) {
            conv::conv_norm(x, w, folded, residual, y, geo, plan, activation_of_norm(activation),
                            workspace_of(workspace, bytes), stream_of(stream));
        },
        "x"_a, "w"_a, "folded"_a, "residual"_a.none(true), "y"_a, "geo"_a, "plan"_a, "activation"_a, "workspace"_a,
        "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "conv_dgrad",
        [](const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
           const conv::Plan& plan, const std::string& activation, uintptr_t workspace, size_t bytes, uintptr_t stream) {
            conv::conv_dgrad(gy, w, bias, gx, geo, plan, activation_of(activation), workspace_of(workspace, bytes),
                             stream_of(stream));
        },
        "gy"_a, "w"_a, "bias"_a.none(true), "gx"_a, "geo"_a, "plan"_a, "activation"_a, "workspace"_a,
        "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "conv_wgrad",
        [](const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const conv::Plan& plan,
           uintptr_t workspace, size_t bytes, uintptr_t stream) {
            conv::conv_wgrad(x, gy, gw, geo, plan, workspace_of(workspace, bytes), stream_of(stream));
        },
        "x"_a, "gy"_a, "gw"_a, "geo"_a, "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "channel_sum",
        [](const Array& gy, const Array& gb, const Array& counters, const conv::ChannelSumPlan& plan,
           uintptr_t workspace, size_t bytes, uintptr_t stream) {
            conv::channel_sum(gy, gb, counters, plan, workspace_of(workspace, bytes), stream_of(stream));
        },
        "gy"_a, "gb"_a, "counters"_a, "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
}

}  // namespace convgpu
