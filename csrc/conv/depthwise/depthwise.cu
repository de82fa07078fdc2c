#include "depthwise.h"

#include <stdexcept>

#include "../../common/check.h"
#include "../../common/dispatch.h"

namespace convgpu::conv {

void launch_depthwise(const Problem& problem, const DepthwisePlan& plan, const Operands& operands,
                      Activation activation, Stream stream) {
    const Direction direction = problem.direction;
    const Array &source = direction == Direction::kDgrad ? operands.y : operands.x, *bias = operands.bias;
    const Array* const addend = has_addend(operands) ? bias : operands.residual;
    if (addend == bias) bias = nullptr;
    if (bias && plan.vector > 1 && !is_aligned(bias->data, kVectorBytes)) {
        throw std::invalid_argument(std::string(name_of(direction)) +
                                    ": expected a bias that starts at a multiple of 16 bytes, as the plan is made for "
                                    "vectors, got another address");
    }
    const DepthwiseProblem p = depthwise_problem_of(direction, problem.geo);
    dispatch_float(problem.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        const DepthwiseEpilogue<T> epilogue{bias ? bias->as<const T>() : nullptr,
                                            addend ? addend->as<const T>() : nullptr,
                                            operands.folded ? operands.folded->as<const A>() : nullptr, activation};
        start_depthwise<T>(direction, plan, source.as<const T>(), operands.w.as<const T>(),
                           result_of(direction, operands).as<T>(), p, epilogue, stream);
    });
}

void launch_depthwise_wgrad(const Problem& problem, const DepthwiseWgradPlan& plan, const Operands& operands,
                            const Workspace& workspace, Stream stream) {
    const DepthwiseProblem p = depthwise_problem_of(Direction::kFprop, problem.geo);
    const Array& gw = operands.w;
    dispatch_float(problem.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        const bool wide = gw.dtype != problem.dtype;  // gw has the type of its sums where it is a part of a longer sum
        A* const parts = static_cast<A*>(workspace.data);
        const PartOfResult<T> first{gw.as<T>(), plan.work.parts > 1 ? parts : wide ? gw.as<A>() : nullptr};
        start_depthwise_wgrad<T>(plan, operands.x.as<const T>(), operands.y.as<const T>(), first, p, stream);
        if (plan.work.parts == 1) return;
        if (wide) return launch_sum_parts<A, A>(parts, gw.as<A>(), plan.work.parts, gw.size(), stream);
        launch_sum_parts<A, T>(parts, gw.as<T>(), plan.work.parts, gw.size(), stream);
    });
}

}  // namespace convgpu::conv
