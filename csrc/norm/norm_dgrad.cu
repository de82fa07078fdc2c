#include "arguments.h"
#include "norm.h"
#include "norm_dgrad_lines.cuh"
#include "norm_dgrad_planes.cuh"
#include "norm_dgrad_rows.cuh"

namespace convgpu::norm {
namespace {

int power_of_two_up_to(int64_t n, int most) {
    int power = 1;
    while (power * 2 <= n && power * 2 <= most) power *= 2;
    return power;
}

template <class T, int V>
void run(Images<T> images, const Given<Accumulator<T>>& given, const Gradients<Accumulator<T>>& gradients,
         const Shares<Accumulator<T>>& shares, const Plan& plan, Activation activation, Stream stream) {
    const Problem problem(plan.geo);
    if (plan.kernel == Kernel::kLines) {
        if (plan.elements()) {
            const int lanes = power_of_two_up_to(plan.geo.per_group() / V, kLineThreads);
            launch_norm_dgrad_lines<T, V>(images, given, problem, activation, lanes, stream);
        }
        if (!plan.sums()) return;
        images.g = nullptr;
        const int lanes = power_of_two_up_to(plan.geo.channels / V, 32);
        return launch_norm_dgrad_rows<T, V, true>(images, given, gradients, shares, problem, activation, lanes, stream);
    }
    const bool rows = plan.kernel == Kernel::kRows;
    if (plan.sums()) {
        if (rows) {
            launch_norm_dgrad_rows<T, V, false>(images, given, gradients, shares, problem, activation, plan.lanes,
                                                stream);
        } else {
            launch_norm_dgrad_planes<T, V>(images, given, gradients, shares, problem, activation, plan.lanes, stream);
        }
        if (images.g) {  // the sums have written it, and the gradient of x starts from it
            images.gy = images.g;
            images.g = nullptr;
            activation = Activation::kNone;
        }
    }
    if (!plan.elements()) return;
    if (rows) {
        return launch_norm_dgrad_apply_rows<T, V>(images, given, gradients.m1, gradients.m2, problem, activation,
                                                  plan.lanes, stream);
    }
    launch_norm_dgrad_apply_planes<T, V>(images, given, gradients.m1, gradients.m2, problem, activation, stream);
}

}  // namespace

void norm_dgrad(const Array& gy, const Array& x, const Array& mean, const Array& rstd, const Array* scale,
                const Array* offset, const Array* y, const Array* gx, const Array* gscale, const Array* goffset,
                const Array* gresidual, const Array* means, const Array& counters, const NormGeometry& geo,
                const Plan& plan, const std::string& activation, const Workspace& workspace, Stream stream) {
    const char* op = "norm_dgrad";
    check_plan(plan, Op::kDgrad, geo, x);
    if (plan.wanted != Wanted{gx != nullptr, gscale != nullptr, goffset != nullptr, gresidual != nullptr} ||
        (gx && !means)) {
        throw std::invalid_argument(
            "norm_dgrad: expected the results that the plan was made for, and the means that "
            "gx needs, got others");
    }
    const Activation named = activation_of(activation);
    if (y && named == Activation::kSilu) {
        throw std::invalid_argument("norm_dgrad: expected relu, relu6 or nothing after a residual, got silu");
    }
    check_image(op, "x", &x, x, plan);
    check_image(op, "gy", &gy, x, plan);
    check_image(op, "y", y, x, plan);
    check_image(op, "gx", gx, x, plan);
    check_image(op, "gresidual", gresidual, x, plan);
    check_given(op, mean, rstd, scale, offset, geo, x.dtype);
    check_parameter(op, "gscale", gscale, {geo.channels}, x.dtype);
    check_parameter(op, "goffset", goffset, {geo.channels}, x.dtype);
    check_parameter(op, "means", means, {2, geo.outer, geo.groups}, x.dtype);
    check_counters(op, counters);
    if (plan.launches() == 0) return;
    workspace.check(op, plan.workspace);
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        const auto data = [](const Array* array) { return array ? array->as<T>() : nullptr; };
        const auto sum = [](const Array* array) { return array ? array->as<A>() : nullptr; };
        const Images<T> images{gy.as<const T>(), x.as<const T>(), named == Activation::kNone ? nullptr : data(y),
                               data(gx), data(gresidual)};
        A* const m1 = gx ? means->as<A>() : nullptr;
        const Gradients<A> gradients{sum(gscale), sum(goffset), m1, m1 ? m1 + geo.statistics() : nullptr,
                                     static_cast<A>(std::max<int64_t>(geo.count(), 1))};
        auto* const parts = plan.gathers ? static_cast<Sums<A>*>(workspace.data) : nullptr;
        const Shares<A> shares{parts, parts ? parts + plan.parts * geo.outer * geo.channels : nullptr,
                               counters.as<uint32_t>(), plan.parts};
        run<T, decltype(vector)::value>(images, given_of<A>(mean, rstd, scale, offset, geo), gradients, shares, plan,
                                        named, stream);
    });
}

}  // namespace convgpu::norm
