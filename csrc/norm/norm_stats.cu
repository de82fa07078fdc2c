#include <limits>

#include "arguments.h"
#include "norm.h"
#include "norm_stats_rows.cuh"
#include "norm_stats_runs.cuh"

namespace convgpu::norm {

void norm_stats(const Array& x, const Array* old_mean, const Array* old_var, const Array& mean, const Array& rstd,
                const Array* new_mean, const Array* new_var, const Array& counters, const NormGeometry& geo,
                const Plan& plan, double epsilon, double momentum, int64_t correction, const Workspace& workspace,
                Stream stream) {
    const char* op = "norm_stats";
    check_plan(plan, Op::kStats, geo, x);
    check_image(op, "x", &x, x, plan);
    check_given(op, mean, rstd, nullptr, nullptr, geo, x.dtype);
    if (new_mean && (geo.outer != 1 || geo.groups != geo.channels || !new_var || !old_mean || !old_var)) {
        throw std::invalid_argument(
            "norm_stats: expected running statistics in pairs, and only for batch norm, got "
            "others");
    }
    const char* const names[] = {"running_mean", "running_var", "new_mean", "new_var"};
    const Array* const running[] = {old_mean, old_var, new_mean, new_var};
    for (int i = 0; i < 4; ++i) check_parameter(op, names[i], running[i], {geo.channels}, x.dtype);
    check_counters(op, counters);
    if (geo.statistics() == 0) return;
    workspace.check(op, plan.workspace);
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        constexpr int kVector = decltype(vector)::value;
        const auto count = static_cast<double>(std::max<int64_t>(geo.count(), 1));
        A* const first = mean.as<A>();
        Statistics<A> out;
        out.mean = first;
        out.rest = first + geo.statistics();
        out.rstd = rstd.as<A>();
        if (new_mean) {
            out.old_mean = old_mean->as<const A>();
            out.old_var = old_var->as<const A>();
            out.new_mean = new_mean->as<A>();
            out.new_var = new_var->as<A>();
        }
        out.epsilon = static_cast<A>(epsilon);
        out.momentum = static_cast<A>(momentum);
        out.count = static_cast<A>(count);
        out.unbiased = static_cast<A>(count / std::max<double>(count - static_cast<double>(correction), 1));
        out.tiny = epsilon < static_cast<double>(std::numeric_limits<A>::min() / std::numeric_limits<A>::epsilon());
        auto* const parts = plan.gathers ? static_cast<Moments<A>*>(workspace.data) : nullptr;
        auto* const counts = counters.as<uint32_t>();
        if (plan.kernel == Kernel::kRows) {
            return launch_norm_stats_rows<T, kVector>(x.as<const T>(), out, parts, counts, Problem(geo), plan.parts,
                                                      plan.lanes, stream);
        }
        launch_norm_stats_runs<T, kVector>(x.as<const T>(), out, parts, counts, Problem(geo), plan.parts, plan.lanes,
                                           stream);
    });
}

}  // namespace convgpu::norm
