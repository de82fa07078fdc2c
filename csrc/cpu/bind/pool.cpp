#include "../pool.h"
#include "arrays.h"

namespace convgpu::cpu {

void bind_pool(py::module_& m) {
    py::class_<PoolGeometry>(m, "PoolGeometry", py::module_local())
        .def(py::init([](int64_t batch, int64_t channels, const Shape& size, const Shape& window, const Shape& stride,
                         const std::vector<std::pair<int64_t, int64_t>>& padding, const Shape& dilation,
                         const Shape& output, bool adaptive, bool count_include_pad, bool channels_last) {
                 PoolGeometry geo{batch,    channels,          size,         window, stride, {}, {}, dilation, output,
                                  adaptive, count_include_pad, channels_last};
                 split(padding, geo.before, geo.after);
                 geo.check();
                 return geo;
             }),
             py::kw_only(), "batch"_a, "channels"_a, "size"_a, "window"_a, "stride"_a, "padding"_a, "dilation"_a,
             "output"_a, "adaptive"_a, "count_include_pad"_a, "channels_last"_a)
        .def_property_readonly("offset_dtype", [](const PoolGeometry& geo) { return name_of(geo.offset_dtype()); });
    m.def(
        "max_pool",
        [](const py::array& x, const py::array& y, const py::object& offsets, const PoolGeometry& geo, int threads) {
            const Array in = array_of(x), out = array_of(y);
            const Maybe winners(offsets);
            const py::gil_scoped_release unlocked;
            max_pool(in, out, winners.get(), geo, threads);
        },
        "x"_a, "y"_a, "offsets"_a.none(true), "geo"_a, "threads"_a);
    using Three = void (*)(const Array&, const Array&, const Array&, const PoolGeometry&, int);
    const auto def_three = [&m](const char* name, Three launch) {
        m.def(
            name,
            [launch](const py::array& in, const py::array& offsets, const py::array& out, const PoolGeometry& geo,
                     int threads) {
                const Array a = array_of(in), b = array_of(offsets), c = array_of(out);
                const py::gil_scoped_release unlocked;
                launch(a, b, c, geo, threads);
            },
            "x"_a, "offsets"_a, "y"_a, "geo"_a, "threads"_a);
    };
    def_three("max_pool_dgrad", max_pool_dgrad);
    def_three("max_pool_gather", max_pool_gather);
    using Two = void (*)(const Array&, const Array&, const PoolGeometry&, int);
    const auto def_two = [&m](const char* name, Two launch) {
        m.def(
            name,
            [launch](const py::array& in, const py::array& out, const PoolGeometry& geo, int threads) {
                const Array a = array_of(in), b = array_of(out);
                const py::gil_scoped_release unlocked;
                launch(a, b, geo, threads);
            },
            "x"_a, "y"_a, "geo"_a, "threads"_a);
    };
    def_two("max_pool_indices", max_pool_indices);
    def_two("avg_pool", avg_pool);
    def_two("avg_pool_dgrad", avg_pool_dgrad);
    m.def(
        "lp_pool",
        [](const py::array& x, const py::array& y, const PoolGeometry& geo, double norm_type, int threads) {
            const Array in = array_of(x), out = array_of(y);
            const py::gil_scoped_release unlocked;
            lp_pool(in, out, geo, norm_type, threads);
        },
        "x"_a, "y"_a, "geo"_a, "norm_type"_a, "threads"_a);
    using Four =
        void (*)(const Array&, const Array&, const Array&, const Array&, const PoolGeometry&, double, bool, int);
    const auto def_four = [&m](const char* name, Four launch) {
        m.def(
            name,
            [launch](const py::array& g, const py::array& x, const py::array& y, const py::array& out,
                     const PoolGeometry& geo, double power, bool with_sign, int threads) {
                const Array a = array_of(g), b = array_of(x), c = array_of(y), d = array_of(out);
                const py::gil_scoped_release unlocked;
                launch(a, b, c, d, geo, power, with_sign, threads);
            },
            "g"_a, "x"_a, "y"_a, "out"_a, "geo"_a, "power"_a, "signed"_a, "threads"_a);
    };
    def_four("lp_pool_dgrad", lp_pool_dgrad);
    def_four("lp_pool_gather", lp_pool_gather);
}

}  // namespace convgpu::cpu
