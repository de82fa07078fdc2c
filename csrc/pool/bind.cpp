#include "../binding.h"
#include "pool.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {
namespace {

void bind_geometry(py::module_& m) {
    py::class_<PoolGeometry>(m, "PoolGeometry", py::module_local())
        .def(py::init([](int64_t batch, int64_t channels, const Shape& size, const Shape& window, const Shape& stride,
                         const std::vector<std::pair<int64_t, int64_t>>& padding, const Shape& dilation,
                         const Shape& output, bool adaptive, bool count_include_pad, bool channels_last) {
                 PoolGeometry geo{batch,    channels,          size,         window, stride, {}, {}, dilation, output,
                                  adaptive, count_include_pad, channels_last};
                 for (const auto& [before, after] : padding) {
                     geo.before.push_back(before);
                     geo.after.push_back(after);
                 }
                 geo.check();
                 return geo;
             }),
             py::kw_only(), "batch"_a, "channels"_a, "size"_a, "window"_a, "stride"_a, "padding"_a, "dilation"_a,
             "output"_a, "adaptive"_a, "count_include_pad"_a, "channels_last"_a)
        .def_property_readonly("offset_dtype", [](const PoolGeometry& geo) { return name_of(geo.offset_dtype()); });
    m.def("output_size", output_size, "n"_a, "f"_a, "stride"_a, "dilation"_a, "before"_a, "after"_a);
}

void bind_plan(py::module_& m) {
    py::class_<pool::Plan>(m, "PoolPlan", py::module_local())
        .def_property_readonly("text", &pool::Plan::text)
        .def_property_readonly("launches", &pool::Plan::launches)
        .def_property_readonly("workspace", [](const pool::Plan&) { return 0; });
    m.def(
        "plan_pool",
        [](const std::string& op, const PoolGeometry& geo, const std::string& dtype, int alignment) {
            return pool::plan(pool::op_of(op), geo, dtype_of(dtype), alignment);
        },
        "op"_a, "geo"_a, "dtype"_a, "alignment"_a = kPlannedAlignment);
}

}  // namespace

void bind_pool(py::module_& m) {
    bind_geometry(m);
    bind_plan(m);
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "max_pool",
        [](const Array& x, const Array& y, const Array* offsets, const PoolGeometry& geo, const pool::Plan& plan,
           uintptr_t stream) { pool::max_pool(x, y, offsets, geo, plan, stream_of(stream)); },
        "x"_a, "y"_a, "offsets"_a.none(true), "geo"_a, "plan"_a, "stream"_a, Unlocked());
    m.def(
        "max_pool_dgrad",
        [](const Array& gy, const Array& offsets, const Array& gx, const PoolGeometry& geo, const pool::Plan& plan,
           uintptr_t stream) { pool::max_pool_dgrad(gy, offsets, gx, geo, plan, stream_of(stream)); },
        "gy"_a, "offsets"_a, "gx"_a, "geo"_a, "plan"_a, "stream"_a, Unlocked());
    m.def(
        "max_pool_gather",
        [](const Array& x, const Array& offsets, const Array& y, const PoolGeometry& geo, const pool::Plan& plan,
           uintptr_t stream) { pool::max_pool_gather(x, offsets, y, geo, plan, stream_of(stream)); },
        "x"_a, "offsets"_a, "y"_a, "geo"_a, "plan"_a, "stream"_a, Unlocked());
    m.def(
        "max_pool_indices",
        [](const Array& offsets, const Array& indices, const PoolGeometry& geo, const pool::Plan& plan,
           uintptr_t stream) { pool::max_pool_indices(offsets, indices, geo, plan, stream_of(stream)); },
        "offsets"_a, "indices"_a, "geo"_a, "plan"_a, "stream"_a, Unlocked());
    m.def(
        "avg_pool",
        [](const Array& x, const Array& y, const PoolGeometry& geo, const pool::Plan& plan, uintptr_t stream) {
            pool::avg_pool(x, y, geo, plan, stream_of(stream));
        },
        "x"_a, "y"_a, "geo"_a, "plan"_a, "stream"_a, Unlocked());
    m.def(
        "avg_pool_dgrad",
        [](const Array& gy, const Array& gx, const PoolGeometry& geo, const pool::Plan& plan, uintptr_t stream) {
            pool::avg_pool_dgrad(gy, gx, geo, plan, stream_of(stream));
        },
        "gy"_a, "gx"_a, "geo"_a, "plan"_a, "stream"_a, Unlocked());
    m.def(
        "lp_pool",
        [](const Array& x, const Array& y, const PoolGeometry& geo, const pool::Plan& plan, double norm_type,
           uintptr_t stream) { pool::lp_pool(x, y, geo, plan, norm_type, stream_of(stream)); },
        "x"_a, "y"_a, "geo"_a, "plan"_a, "norm_type"_a, "stream"_a, Unlocked());
    m.def(
        "lp_pool_dgrad",
        [](const Array& gy, const Array& x, const Array& y, const Array& gx, const PoolGeometry& geo,
           const pool::Plan& plan, double power, bool with_sign,
           uintptr_t stream) { pool::lp_pool_dgrad(gy, x, y, gx, geo, plan, power, with_sign, stream_of(stream)); },
        "gy"_a, "x"_a, "y"_a, "gx"_a, "geo"_a, "plan"_a, "power"_a, "signed"_a, "stream"_a, Unlocked());
    m.def(
        "lp_pool_gather",
        [](const Array& v, const Array& x, const Array& y, const Array& z, const PoolGeometry& geo,
           const pool::Plan& plan, double power, bool with_sign,
           uintptr_t stream) { pool::lp_pool_gather(v, x, y, z, geo, plan, power, with_sign, stream_of(stream)); },
        "v"_a, "x"_a, "y"_a, "z"_a, "geo"_a, "plan"_a, "power"_a, "signed"_a, "stream"_a, Unlocked());
}

}  // namespace convgpu
