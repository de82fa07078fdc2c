// The Python module _cpu: arrays are NumPy's own, read through their buffers; results are made by the caller.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../common/error.h"
#include "isa.h"
#include "ops.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu::cpu {
namespace {

// dtypes are told apart by kind and size; the only other one of kind 'V' or 'E' that the package passes is bfloat16.
DType dtype_of(const py::array& array) {
    const auto& type = py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr);
    switch (type->kind) {
        case 'f':
            switch (array.itemsize()) {
                case 2:
                    return DType::kFloat16;
                case 4:
                    return DType::kFloat32;
                case 8:
                    return DType::kFloat64;
            }
            break;
        case 'u':
            if (array.itemsize() == 1) return DType::kUInt8;
            if (array.itemsize() == 2) return DType::kUInt16;
            break;
        case 'i':
            if (array.itemsize() == 4) return DType::kInt32;
            if (array.itemsize() == 8) return DType::kInt64;
            break;
        case 'V':
            if (array.itemsize() == 2) return DType::kBFloat16;
            break;
    }
    throw TypeError("expected a dtype that kernels have, got " + py::str(array.dtype()).cast<std::string>());
}

Array array_of(const py::array& array) {
    if (array.dtype().byteorder() == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<')) {
        throw TypeError("expected this machine's byte order, got " + py::str(array.dtype()).cast<std::string>());
    }
    Array crossed;
    crossed.data = const_cast<void*>(array.data());
    crossed.shape.assign(array.shape(), array.shape() + array.ndim());
    crossed.strides.assign(array.strides(), array.strides() + array.ndim());
    crossed.dtype = dtype_of(array);
    return crossed;
}

// An array that may be absent.
struct Maybe {
    explicit Maybe(const py::object& object) : there(!object.is_none()) {
        if (there) array = array_of(py::reinterpret_borrow<py::array>(object));
    }
    const Array* get() const { return there ? &array : nullptr; }
    bool there;
    Array array;
};

void translate(std::exception_ptr error) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const TypeError& e) {
        PyErr_SetString(PyExc_TypeError, e.what());
    }
}

void split(const std::vector<std::pair<int64_t, int64_t>>& padding, Shape& before, Shape& after) {
    for (const auto& [b, a] : padding) {
        before.push_back(b);
        after.push_back(a);
    }
}

void bind_geometries(py::module_& m) {
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
}

void bind_conv(py::module_& m) {
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

void bind_pool(py::module_& m) {
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

}  // namespace
}  // namespace convgpu::cpu

PYBIND11_MODULE(_cpu, m) {
    using namespace convgpu::cpu;
    py::register_local_exception_translator(translate);
    m.def("instruction_sets", instruction_sets);
    m.def("instruction_set", instruction_set);
    m.def("use_instruction_set", use_instruction_set, "name"_a);
    bind_geometries(m);
    bind_conv(m);
    bind_gemm(m);
    bind_pool(m);
}
