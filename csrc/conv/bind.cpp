#include "../binding.h"
#include "conv.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {
namespace {

conv::Options options_of(const std::string& activation, const std::string& precision) {
    return {activation_of(activation), precision_of(precision)};
}

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

void bind_plan(py::module_& m) {
    m.def(
        "conv_workspace",
        [](const std::string& op, const ConvGeometry& geo, const std::string& dtype, const std::string& precision,
           std::optional<size_t> limit) {
            return conv::plan(conv::direction_of(op), geo, dtype_of(dtype), options_of("", precision), current_device(),
                              limit)
                .workspace;
        },
        "op"_a, "geo"_a, "dtype"_a, "precision"_a, "limit"_a.none(true));
    m.def(
        "plan_conv",
        [](const std::string& op, const ConvGeometry& geo, const std::string& dtype, const std::string& precision,
           const Device& device, std::optional<size_t> limit) {
            const conv::Choice choice =
                conv::plan(conv::direction_of(op), geo, dtype_of(dtype), options_of("", precision), device, limit);
            return choice.text + " workspace=" + std::to_string(choice.workspace);
        },
        "op"_a, "geo"_a, "dtype"_a, "precision"_a = "float32", "device"_a = Device{}, "limit"_a = py::none());
}

void bind_channel_sum(py::module_& m) {
    m.def(
        "channel_sum",
        [](const Array& gy, const Array& gb, bool channels_last, uintptr_t workspace, size_t bytes, uintptr_t stream) {
            conv::channel_sum(gy, gb, channels_last, workspace_of(workspace, bytes), stream_of(stream));
        },
        "gy"_a, "gb"_a, "channels_last"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a,
        py::call_guard<py::gil_scoped_release>());
    m.def(
        "channel_sum_workspace",
        [](const Shape& gy, bool channels_last, const std::string& dtype, std::optional<size_t> limit) {
            return conv::plan_channel_sum(gy, channels_last, dtype_of(dtype), current_device(),
                                          limit.value_or(kWorkspaceLimit))
                .workspace;
        },
        "gy"_a, "channels_last"_a, "dtype"_a, "limit"_a.none(true));
    m.def(
        "plan_channel_sum",
        [](const Shape& gy, bool channels_last, const std::string& dtype, const Device& device,
           std::optional<size_t> limit) {
            const conv::Choice choice =
                conv::plan_channel_sum(gy, channels_last, dtype_of(dtype), device, limit.value_or(kWorkspaceLimit));
            return choice.text + " workspace=" + std::to_string(choice.workspace);
        },
        "gy"_a, "channels_last"_a, "dtype"_a, "device"_a = Device{}, "limit"_a = py::none());
}

}  // namespace

void bind_conv(py::module_& m) {
    bind_geometry(m);
    bind_plan(m);
    bind_channel_sum(m);
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "conv_fprop",
        [](const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
           const std::string& activation, const std::string& precision, uintptr_t workspace, size_t bytes,
           uintptr_t stream) {
            conv::conv_fprop(x, w, bias, y, geo, options_of(activation, precision), workspace_of(workspace, bytes),
                             stream_of(stream));
        },
        "x"_a, "w"_a, "bias"_a.none(true), "y"_a, "geo"_a, "activation"_a, "precision"_a, "workspace"_a,
        "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "conv_dgrad",
        [](const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
           const std::string& activation, const std::string& precision, uintptr_t workspace, size_t bytes,
           uintptr_t stream) {
            conv::conv_dgrad(gy, w, bias, gx, geo, options_of(activation, precision), workspace_of(workspace, bytes),
                             stream_of(stream));
        },
        "gy"_a, "w"_a, "bias"_a.none(true), "gx"_a, "geo"_a, "activation"_a, "precision"_a, "workspace"_a,
        "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "conv_wgrad",
        [](const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const std::string& precision,
           uintptr_t workspace, size_t bytes, uintptr_t stream) {
            conv::conv_wgrad(x, gy, gw, geo, options_of("", precision), workspace_of(workspace, bytes),
                             stream_of(stream));
        },
        "x"_a, "gy"_a, "gw"_a, "geo"_a, "precision"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
}

}  // namespace convgpu
