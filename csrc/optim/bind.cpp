#include "../binding.h"
#include "optim.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu {
namespace {

optim::List list_of(const std::vector<uintptr_t>& addresses, const std::string& dtype) {
    optim::List list;
    list.dtype = dtype_of(dtype);
    for (const uintptr_t address : addresses) list.data.push_back(reinterpret_cast<void*>(address));
    return list;
}

void bind_values(py::module_& m) {
    py::class_<optim::List>(m, "ArrayList", py::module_local()).def(py::init(&list_of), "addresses"_a, "dtype"_a);
    py::class_<optim::Shared>(m, "SharedArrays", py::module_local())
        .def(py::init([](const Array& rate, const Array& steps, const Array* norm, const Array* scaling,
                         const Array& new_steps, const Array* new_scaling) {
                 const auto given = [](const Array* a) { return a ? std::optional<Array>(*a) : std::nullopt; };
                 return optim::Shared{rate, steps, given(norm), given(scaling), new_steps, given(new_scaling)};
             }),
             "rate"_a, "steps"_a, "norm"_a.none(true), "scaling"_a.none(true), "new_steps"_a,
             "new_scaling"_a.none(true));
    py::class_<optim::Sgd>(m, "SgdRule", py::module_local())
        .def(py::init([](double momentum, double weight_decay, double clip_norm, bool nesterov, bool keras) {
                 return optim::Sgd{momentum, weight_decay, clip_norm, nesterov, keras};
             }),
             py::kw_only(), "momentum"_a, "weight_decay"_a, "clip_norm"_a, "nesterov"_a, "keras"_a);
    py::class_<optim::Adam>(m, "AdamRule", py::module_local())
        .def(py::init([](double beta1, double beta2, double epsilon, double weight_decay, double clip_norm,
                         bool decoupled, bool keras) {
                 return optim::Adam{beta1, beta2, epsilon, weight_decay, clip_norm, decoupled, keras};
             }),
             py::kw_only(), "beta1"_a, "beta2"_a, "epsilon"_a, "weight_decay"_a, "clip_norm"_a, "decoupled"_a,
             "keras"_a);
}

void bind_plan(py::module_& m) {
    py::class_<optim::Plan>(m, "OptimPlan", py::module_local())
        .def_property_readonly("text", &optim::Plan::text)
        .def_property_readonly("launches", &optim::Plan::launches)
        .def_property_readonly("workspace", [](const optim::Plan& plan) { return plan.workspace; });
    m.def(
        "plan_optim",
        [](const std::string& op, const Shape& sizes, const std::string& dtype, const std::string& other, int,
           const Device* device) {
            return optim::plan(optim::op_of(op), sizes, dtype_of(dtype), dtype_of(other),
                               device ? *device : current_device());
        },
        "op"_a, "sizes"_a, "dtype"_a, "other"_a, "alignment"_a = kPlannedAlignment, "device"_a.none(true) = nullptr);
}

}  // namespace

void bind_optim(py::module_& m) {
    bind_values(m);
    bind_plan(m);
    using Unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "sgd_step",
        [](const optim::List& p, const optim::List& g, const optim::List* v, const optim::List& new_p,
           const optim::List* new_v, const optim::List* copies, const optim::Shared& shared, const optim::Sgd& rule,
           const optim::Plan& plan, uintptr_t workspace, size_t bytes, uintptr_t stream) {
            optim::sgd_step(p, g, v, new_p, new_v, copies, shared, rule, plan, workspace_of(workspace, bytes),
                            stream_of(stream));
        },
        "p"_a, "g"_a, "v"_a.none(true), "new_p"_a, "new_v"_a.none(true), "copies"_a.none(true), "shared"_a, "rule"_a,
        "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "adam_step",
        [](const optim::List& p, const optim::List& g, const optim::List& mean, const optim::List& square,
           const optim::List& new_p, const optim::List& new_mean, const optim::List& new_square,
           const optim::List* copies, const optim::Shared& shared, const optim::Adam& rule, const optim::Plan& plan,
           uintptr_t workspace, size_t bytes, uintptr_t stream) {
            optim::adam_step(p, g, mean, square, new_p, new_mean, new_square, copies, shared, rule, plan,
                             workspace_of(workspace, bytes), stream_of(stream));
        },
        "p"_a, "g"_a, "m"_a, "s"_a, "new_p"_a, "new_m"_a, "new_s"_a, "copies"_a.none(true), "shared"_a, "rule"_a,
        "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "global_norm",
        [](const optim::List& xs, const Array& norm, const optim::Plan& plan, uintptr_t workspace, size_t bytes,
           uintptr_t stream) { optim::global_norm(xs, norm, plan, workspace_of(workspace, bytes), stream_of(stream)); },
        "xs"_a, "norm"_a, "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
    m.def(
        "cast_all",
        [](const optim::List& xs, const optim::List& ys, const Array* divisor, const optim::Plan& plan,
           uintptr_t workspace, size_t bytes, uintptr_t stream) {
            optim::cast_all(xs, ys, divisor, plan, workspace_of(workspace, bytes), stream_of(stream));
        },
        "xs"_a, "ys"_a, "divisor"_a.none(true), "plan"_a, "workspace"_a, "workspace_bytes"_a, "stream"_a, Unlocked());
}

}  // namespace convgpu
