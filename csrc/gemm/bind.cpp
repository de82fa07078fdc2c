#include "../binding.h"
#include "gemm.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {

void bind_gemm(py::module_& m) {
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "gemm",
        [](const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta, bool trans_a,
           bool trans_b, const std::string& activation, const std::string& precision, uintptr_t workspace, size_t bytes,
           uintptr_t stream) {
            gemm::gemm(a, b, c, y, alpha, beta, {trans_a, trans_b, precision_of(precision)}, activation_of(activation),
                       workspace_of(workspace, bytes), stream_of(stream));
        },
        "a"_a, "b"_a, "c"_a.none(true), "y"_a, "alpha"_a, "beta"_a, "trans_a"_a, "trans_b"_a, "activation"_a,
        "precision"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "matmul",
        [](const Array& a, const Array& b, const Array& y, bool trans_a, bool trans_b, const std::string& precision,
           uintptr_t workspace, size_t bytes, uintptr_t stream) {
            gemm::matmul(a, b, y, {trans_a, trans_b, precision_of(precision)}, workspace_of(workspace, bytes),
                         stream_of(stream));
        },
        "a"_a, "b"_a, "y"_a, "trans_a"_a, "trans_b"_a, "precision"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a,
        Unlocked());
    m.def(
        "gemm_workspace",
        [](int64_t items, int64_t M, int64_t N, int64_t K, const std::string& dtype, const std::string& precision,
           std::optional<size_t> limit, bool trans_a, bool trans_b, bool one_a, bool one_b) {
            return gemm::workspace_bytes({items, M, N, K, one_a, one_b}, dtype_of(dtype),
                                         {trans_a, trans_b, precision_of(precision)}, limit);
        },
        "items"_a, "M"_a, "N"_a, "K"_a, "dtype"_a, "precision"_a, "limit"_a.none(true), "trans_a"_a = false,
        "trans_b"_a = false, "one_a"_a = true, "one_b"_a = true);
    m.def(
        "plan_gemm",
        [](int64_t items, int64_t M, int64_t N, int64_t K, const std::string& dtype, bool trans_a, bool trans_b,
           const std::string& precision, const Device& device, std::optional<size_t> limit, bool one_a, bool one_b) {
            return gemm::plan({items, M, N, K, one_a, one_b}, dtype_of(dtype),
                              {trans_a, trans_b, precision_of(precision)}, device, limit);
        },
        "items"_a, "M"_a, "N"_a, "K"_a, "dtype"_a, "trans_a"_a = false, "trans_b"_a = false, "precision"_a = "float32",
        "device"_a = Device{}, "limit"_a = py::none(), "one_a"_a = false, "one_b"_a = false);
}

}  // namespace convgpu
