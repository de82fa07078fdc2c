#include "optim.h"

#include <stdexcept>
#include <string>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "../device/upload.h"
#include "adam_step.cuh"
#include "cast_all.cuh"
#include "global_norm.cuh"
#include "sgd_step.cuh"

namespace convgpu::optim {
namespace {

// Throws unless a list has one address for each size of the plan, on the boundary of an element, and this dtype.
void check_list(const Plan& plan, const char* name, const List& list, DType dtype) {
    const std::string rule = std::string(name_of(plan.op)) + ": expected " + name;
    if (list.dtype != dtype) {
        throw TypeError(rule + " of dtype " + convgpu::name_of(dtype) + ", got " + convgpu::name_of(list.dtype));
    }
    if (list.data.size() != plan.sizes.size()) {
        throw std::invalid_argument(rule + " of " + std::to_string(plan.sizes.size()) +
                                    " arrays, as the plan has, got " + std::to_string(list.data.size()));
    }
    for (size_t i = 0; i < list.data.size(); ++i) {
        if (plan.sizes[i] != 0 && (!list.data[i] || !is_aligned(list.data[i], size_of(dtype)))) {
            throw std::invalid_argument(rule + " at addresses that are multiples of " + std::to_string(size_of(dtype)) +
                                        ", got array " + std::to_string(i) + " elsewhere");
        }
    }
}

void check_plan(const Plan& plan, Op op, DType dtype, DType other) {
    if (plan.op == op && plan.dtype == dtype && plan.other == other) return;
    const auto text = [](Op op, DType dtype, DType other) {
        return std::string(name_of(op)) + " of " + convgpu::name_of(dtype) + " and " + convgpu::name_of(other);
    };
    throw std::invalid_argument(std::string(name_of(op)) + ": expected a plan for " + text(op, dtype, other) +
                                ", got one for " + text(plan.op, plan.dtype, plan.other));
}

// Writes the table into the workspace. Lists that are null have null addresses.
Table table_of(const Plan& plan, std::initializer_list<const List*> lists, const Workspace& workspace, Stream stream) {
    workspace.check(name_of(plan.op), plan.workspace);
    const size_t arrays = plan.sizes.size(), pieces_bytes = static_cast<size_t>(plan.blocks) * sizeof(Piece);
    std::vector<char> host(table_bytes(plan));
    auto* pieces = reinterpret_cast<Piece*>(host.data());
    auto* sizes = reinterpret_cast<int64_t*>(host.data() + pieces_bytes);
    auto** addresses = reinterpret_cast<void**>(sizes + arrays);
    size_t block = 0;
    for (size_t i = 0; i < arrays; ++i) {
        sizes[i] = plan.sizes[i];
        for (int64_t number = 0; number * plan.chunk < sizes[i]; ++number)
            pieces[block++] = {static_cast<uint32_t>(i), static_cast<uint32_t>(number)};
    }
    for (const List* list : lists) {
        for (size_t i = 0; i < arrays; ++i) *addresses++ = list ? list->data[i] : nullptr;
    }
    upload(workspace.data, host.data(), host.size(), stream);
    auto* device = static_cast<char*>(workspace.data);
    auto* device_sizes = reinterpret_cast<int64_t*>(device + pieces_bytes);
    return {reinterpret_cast<Piece*>(device), device_sizes, reinterpret_cast<void* const*>(device_sizes + arrays),
            static_cast<int64_t>(arrays), plan.chunk};
}

Scalars scalars_of(const char* op, const Shared& shared, double clip_norm) {
    const Array &rate = shared.rate, &steps = shared.steps;
    const bool wide_rate = rate.dtype == DType::kFloat64, wide_steps = steps.dtype == DType::kInt64;
    check_array(op, "rate", rate, {}, wide_rate ? DType::kFloat64 : DType::kFloat32);
    check_array(op, "steps", steps, {}, wide_steps ? DType::kInt64 : DType::kInt32);
    check_array(op, "new_steps", shared.new_steps, {}, DType::kInt64);
    if (shared.norm) check_array(op, "norm", *shared.norm, {}, DType::kFloat64);
    if (shared.scaling && shared.new_scaling) {
        check_array(op, "scaling", *shared.scaling, {2}, DType::kFloat32);
        check_array(op, "new_scaling", *shared.new_scaling, {2}, DType::kFloat32);
    }
    if (shared.scaling.has_value() != shared.new_scaling.has_value()) {
        throw std::invalid_argument(std::string(op) + ": expected a new loss scale with a loss scale, got one alone");
    }
    if (!shared.norm && (shared.scaling || clip_norm < INFINITY)) {
        throw std::invalid_argument(std::string(op) + ": expected a norm with clipping or a loss scale, got none");
    }
    return {rate.data,
            steps.data,
            wide_rate,
            wide_steps,
            shared.norm ? shared.norm->as<double>() : nullptr,
            shared.scaling ? shared.scaling->as<float>() : nullptr,
            shared.new_steps.as<int64_t>(),
            shared.scaling ? shared.new_scaling->as<float>() : nullptr,
            clip_norm};
}

Copies copies_of(const Plan& plan, const List* copies) {
    if (!copies) return Copies::kNone;
    const DType dtype = copies->dtype == DType::kFloat16 ? DType::kFloat16 : DType::kBFloat16;
    check_list(plan, "copies", *copies, dtype);
    return dtype == DType::kFloat16 ? Copies::kFloat16 : Copies::kBFloat16;
}

// The dtype of an optimizer's state.
DType state_of(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

// Calls use(Type<P>{}, Type<G>{}) for the types of parameters and gradients, which are a pair that plans exist for.
template <class Use>
void dispatch_step(const Plan& plan, Use&& use) {
    dispatch_float(plan.dtype, [&](auto parameter) {
        if (plan.other == plan.dtype) return use(parameter, parameter);
        if constexpr (std::is_same_v<TypeOf<decltype(parameter)>, float>) {
            if (plan.other == DType::kFloat16) return use(parameter, Type<__half>{});
            return use(parameter, Type<__nv_bfloat16>{});
        }
    });
}

}  // namespace

void sgd_step(const List& p, const List& g, const List* v, const List& new_p, const List* new_v, const List* copies,
              const Shared& shared, const Sgd& rule, const Plan& plan, const Workspace& workspace, Stream stream) {
    check_plan(plan, Op::kSgdStep, p.dtype, g.dtype);
    check_list(plan, "p", p, plan.dtype);
    check_list(plan, "g", g, plan.other);
    check_list(plan, "new_p", new_p, plan.dtype);
    if (v) check_list(plan, "v", *v, state_of(plan.dtype));
    if (new_v) check_list(plan, "new_v", *new_v, state_of(plan.dtype));
    if (!v != !new_v || !v != (rule.momentum == 0)) {
        throw std::invalid_argument("sgd_step: expected v and new_v with momentum and neither without, got momentum " +
                                    std::to_string(rule.momentum));
    }
    const Copies kind = copies_of(plan, copies);
    const Scalars scalars = scalars_of("sgd_step", shared, rule.clip_norm);
    const Table table = table_of(plan, {&p, &g, v, &new_p, new_v, copies}, workspace, stream);
    dispatch_step(plan, [&](auto parameter, auto gradient) {
        launch_sgd_step<TypeOf<decltype(parameter)>, TypeOf<decltype(gradient)>>(plan, table, rule, scalars, kind,
                                                                                 stream);
    });
}

void adam_step(const List& p, const List& g, const List& m, const List& s, const List& new_p, const List& new_m,
               const List& new_s, const List* copies, const Shared& shared, const Adam& rule, const Plan& plan,
               const Workspace& workspace, Stream stream) {
    check_plan(plan, Op::kAdamStep, p.dtype, g.dtype);
    check_list(plan, "p", p, plan.dtype);
    check_list(plan, "g", g, plan.other);
    check_list(plan, "new_p", new_p, plan.dtype);
    check_list(plan, "m", m, state_of(plan.dtype));
    check_list(plan, "s", s, state_of(plan.dtype));
    check_list(plan, "new_m", new_m, state_of(plan.dtype));
    check_list(plan, "new_s", new_s, state_of(plan.dtype));
    const Copies kind = copies_of(plan, copies);
    const Scalars scalars = scalars_of("adam_step", shared, rule.clip_norm);
    const Table table = table_of(plan, {&p, &g, &m, &s, &new_p, &new_m, &new_s, copies}, workspace, stream);
    dispatch_step(plan, [&](auto parameter, auto gradient) {
        launch_adam_step<TypeOf<decltype(parameter)>, TypeOf<decltype(gradient)>>(plan, table, rule, scalars, kind,
                                                                                  stream);
    });
}

void global_norm(const List& xs, const Array& norm, const Plan& plan, const Workspace& workspace, Stream stream) {
    check_plan(plan, Op::kGlobalNorm, xs.dtype, xs.dtype);
    check_list(plan, "xs", xs, plan.dtype);
    check_array("global_norm", "norm", norm, {}, DType::kFloat64);
    const Table table = table_of(plan, {&xs}, workspace, stream);
    Carver pieces(workspace);
    pieces.take(table_bytes(plan));
    auto* sums = static_cast<double*>(pieces.rest().data);
    dispatch_float(plan.dtype, [&](auto type) {
        launch_global_norm<TypeOf<decltype(type)>>(plan, table, sums, norm.as<double>(), stream);
    });
}

void cast_all(const List& xs, const List& ys, const Array* divisor, const Plan& plan, const Workspace& workspace,
              Stream stream) {
    check_plan(plan, Op::kCastAll, xs.dtype, ys.dtype);
    check_list(plan, "xs", xs, plan.dtype);
    check_list(plan, "ys", ys, plan.other);
    if (divisor && (divisor->dtype != DType::kFloat32 || divisor->size() < 1)) {
        throw std::invalid_argument("cast_all: expected a divisor of float32 with at least one element, got " +
                                    std::string(convgpu::name_of(divisor->dtype)) + " of shape " +
                                    text_of(divisor->shape));
    }
    const float* by = divisor ? divisor->as<float>() : nullptr;
    const Table table = table_of(plan, {&xs, &ys}, workspace, stream);
    dispatch_float(plan.dtype, [&](auto from) {
        dispatch_float(plan.other, [&](auto to) {
            launch_cast_all<TypeOf<decltype(from)>, TypeOf<decltype(to)>>(plan, table, by, stream);
        });
    });
}

}  // namespace convgpu::optim
