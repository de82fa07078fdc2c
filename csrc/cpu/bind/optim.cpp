#include "../optim.h"

#include "arrays.h"

namespace convgpu::cpu {
namespace {

using Arrays = std::vector<py::array>;

std::vector<std::vector<Array>> lists_of(const std::vector<Arrays>& lists) {
    std::vector<std::vector<Array>> crossed;
    for (const Arrays& list : lists) crossed.push_back(arrays_of(list));
    return crossed;
}

StepLists step_lists(const Arrays& params, const Arrays& grads, const std::vector<Arrays>& slots,
                     const Arrays& new_params, const std::vector<Arrays>& new_slots, const Arrays& copies) {
    return {arrays_of(params), arrays_of(grads), arrays_of(new_params),
            arrays_of(copies), lists_of(slots),  lists_of(new_slots)};
}

}  // namespace

void bind_optim(py::module_& m) {
    m.def(
        "sgd_step",
        [](const Arrays& params, const Arrays& grads, const std::vector<Arrays>& slots, const Arrays& new_params,
           const std::vector<Arrays>& new_slots, const Arrays& copies, int threads, double rate, double momentum,
           double weight_decay, double factor, bool nesterov, bool keras, bool clipped) {
            const StepLists lists = step_lists(params, grads, slots, new_params, new_slots, copies);
            const SgdNumbers numbers{rate, momentum, weight_decay, factor, nesterov, keras, clipped};
            const py::gil_scoped_release unlocked;
            sgd_step(lists, numbers, threads);
        },
        "params"_a, "grads"_a, "slots"_a, "new_params"_a, "new_slots"_a, "copies"_a, "threads"_a, py::kw_only(),
        "rate"_a, "momentum"_a, "weight_decay"_a, "factor"_a, "nesterov"_a, "keras"_a, "clipped"_a);
    m.def(
        "adam_step",
        [](const Arrays& params, const Arrays& grads, const std::vector<Arrays>& slots, const Arrays& new_params,
           const std::vector<Arrays>& new_slots, const Arrays& copies, int threads, double beta1, double rest1,
           double beta2, double rest2, double epsilon, double weight_decay, double factor, double kept, double size,
           double per_root, bool decoupled, bool keras, bool clipped) {
            const StepLists lists = step_lists(params, grads, slots, new_params, new_slots, copies);
            const AdamNumbers numbers{beta1, rest1, beta2,    rest2,     epsilon, weight_decay, factor,
                                      kept,  size,  per_root, decoupled, keras,   clipped};
            const py::gil_scoped_release unlocked;
            adam_step(lists, numbers, threads);
        },
        "params"_a, "grads"_a, "slots"_a, "new_params"_a, "new_slots"_a, "copies"_a, "threads"_a, py::kw_only(),
        "beta1"_a, "rest1"_a, "beta2"_a, "rest2"_a, "epsilon"_a, "weight_decay"_a, "factor"_a, "kept"_a, "size"_a,
        "per_root"_a, "decoupled"_a, "keras"_a, "clipped"_a);
    m.def(
        "global_norm",
        [](const Arrays& xs, int threads) {
            const std::vector<Array> list = arrays_of(xs);
            const py::gil_scoped_release unlocked;
            return global_norm(list, threads);
        },
        "xs"_a, "threads"_a);
    m.def(
        "cast_all",
        [](const Arrays& xs, const Arrays& ys, const std::optional<double>& divisor, int threads) {
            const std::vector<Array> from = arrays_of(xs), to = arrays_of(ys);
            const py::gil_scoped_release unlocked;
            cast_all(from, to, divisor ? &*divisor : nullptr, threads);
        },
        "xs"_a, "ys"_a, "divisor"_a.none(true), "threads"_a);
}

}  // namespace convgpu::cpu
