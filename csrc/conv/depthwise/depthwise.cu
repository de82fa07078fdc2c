#include <algorithm>

#include "../../common/check.h"
#include "../../common/dispatch.h"
#include "instances.h"
#include "plan.h"
#include "../passes/sum_parts.cuh"

namespace convgpu::conv {
namespace {

template <class... Arrays>
bool all_aligned(const Arrays&... arrays) {
    return (is_aligned(arrays.data, kVectorBytes) && ...);
}

// fprop, and dgrad of the same form: `source` is x or gy.
void run(Direction direction, const Array& source, const Array& w, const Array* bias, const Array& result,
         const ConvGeometry& geo, const Options& options, Stream stream) {
    const bool aligned = all_aligned(source, w, result, bias ? *bias : w);
    const DepthwisePlan plan = plan_depthwise_window(geo, result.dtype, aligned);
    const DepthwiseProblem problem = depthwise_problem_of(direction, geo);
    dispatch_float(result.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        const DepthwiseEpilogue<T> epilogue{bias ? bias->as<const T>() : nullptr, options.activation};
        run_depthwise<T>(direction, plan, source.as<const T>(), w.as<const T>(), result.as<T>(), problem, epilogue,
                         stream);
    });
}

}  // namespace

void fprop_depthwise(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                     const Options& options, const Workspace&, Stream stream) {
    run(Direction::kFprop, x, w, bias, y, geo, options, stream);
}

void dgrad_depthwise(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                     const Options& options, const Workspace&, Stream stream) {
    run(Direction::kDgrad, gy, w, bias, gx, geo, options, stream);
}

void wgrad_depthwise(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options&,
                     const Workspace& workspace, Stream stream) {
    const DepthwiseWgradPlan plan =
        plan_depthwise_wgrad(geo, x.dtype, all_aligned(x, gy), current_device(), workspace.bytes);
    const DepthwiseProblem problem = depthwise_problem_of(Direction::kFprop, geo);
    dispatch_float(x.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        const bool wide = gw.dtype != x.dtype;
        A* const parts = static_cast<A*>(workspace.data);
        const PartOfResult<T> first{gw.as<T>(), plan.work.parts > 1 ? parts : wide ? gw.as<A>() : nullptr};
        run_depthwise_wgrad<T>(plan, x.as<const T>(), gy.as<const T>(), first, problem, stream);
        if (plan.work.parts == 1) return;
        if (wide) return launch_sum_parts<A, A>(parts, gw.as<A>(), plan.work.parts, gw.size(), stream);
        launch_sum_parts<A, T>(parts, gw.as<T>(), plan.work.parts, gw.size(), stream);
    });
}

}  // namespace convgpu::conv
