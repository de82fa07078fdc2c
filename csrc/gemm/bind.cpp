#include "../binding.h"
#include "gemm.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {

void bind_gemm(py::module_& m) {
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    py::class_<gemm::Plan>(m, "GemmPlan", py::module_local())
        .def_property_readonly("text", &gemm::Plan::text)
        .def_property_readonly("launches", &gemm::Plan::launches)
        .def_property_readonly("clocks", &gemm::Plan::clocks)
        .def_readonly("workspace", &gemm::Plan::workspace);
    m.def(
        "plan_gemm",
        [](int64_t items, int64_t M, int64_t N, int64_t K, const std::string& dtype, bool trans_a, bool trans_b,
           const std::string& precision, int alignment, std::optional<Device> device, std::optional<size_t> limit,
           bool one_a, bool one_b) {
            return gemm::plan({items, M, N, K, one_a, one_b}, dtype_of(dtype),
                              {trans_a, trans_b, precision_of(precision)}, alignment,
                              device ? *device : current_device(), limit);
        },
        "items"_a, "M"_a, "N"_a, "K"_a, "dtype"_a, "trans_a"_a = false, "trans_b"_a = false, "precision"_a = "float32",
        "alignment"_a = kPlannedAlignment, "device"_a = py::none(), "limit"_a = py::none(), "one_a"_a = false,
        "one_b"_a = false);
    m.def(
        "gemm",
        [](const Array& a, const Array& b, const Array* c, const Array& y, const gemm::Plan& plan, double alpha,
           double beta, const std::string& activation, uintptr_t workspace, size_t bytes, uintptr_t stream) {
            gemm::gemm(a, b, c, y, plan, alpha, beta, activation_of(activation), workspace_of(workspace, bytes),
                       stream_of(stream));
        },
        "a"_a, "b"_a, "c"_a.none(true), "y"_a, "plan"_a, "alpha"_a, "beta"_a, "activation"_a, "workspace"_a,
        "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "matmul",
        [](const Array& a, const Array& b, const Array& y, const gemm::Plan& plan, uintptr_t workspace, size_t bytes,
           uintptr_t stream) { gemm::matmul(a, b, y, plan, workspace_of(workspace, bytes), stream_of(stream)); },
        "a"_a, "b"_a, "y"_a, "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
}

}  // namespace convgpu
