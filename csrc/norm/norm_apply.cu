#include "arguments.h"
#include "norm.h"
#include "norm_apply_planes.cuh"
#include "norm_apply_rows.cuh"

namespace convgpu::norm {
namespace {

// Computes y with statistics and parameters as `infers` says: those of `geo`, or those of channels.
void run(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
         const Array* residual, const Array& y, const Plan& plan, const std::string& activation, double epsilon,
         bool infers, Stream stream) {
    const char* op = name_of(plan.op);
    const NormGeometry& geo = plan.geo;
    const Activation named = activation_of(activation);
    check_image(op, "x", &x, x, plan);
    check_image(op, "residual", residual, x, plan);
    check_image(op, "y", &y, x, plan);
    if (infers) {
        check_parameter(op, "mean", &mean, {geo.channels}, x.dtype);
        check_parameter(op, "var", &rstd, {geo.channels}, x.dtype);
        check_parameter(op, "scale", scale, {geo.channels}, x.dtype);
        check_parameter(op, "offset", offset, {geo.channels}, x.dtype);
    } else {
        check_given(op, mean, rstd, scale, offset, geo, x.dtype);
    }
    if (geo.size() == 0) return;
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        constexpr int kVector = decltype(vector)::value;
        Given<A> given = given_of<A>(mean, rstd, scale, offset, geo);
        if (infers) {
            given.rest = nullptr;
            given.infers = true;
            given.epsilon = static_cast<A>(epsilon);
        }
        const T* more = residual ? residual->as<const T>() : nullptr;
        if (plan.kernel == Kernel::kRows) {
            return launch_norm_apply_rows<T, kVector>(x.as<const T>(), more, y.as<T>(), given, Problem(geo), named,
                                                      plan.lanes, stream);
        }
        launch_norm_apply_planes<T, kVector>(x.as<const T>(), more, y.as<T>(), given, Problem(geo), named, stream);
    });
}

}  // namespace

void norm_apply(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                const Array& y, const NormGeometry& geo, const Plan& plan, const std::string& activation,
                Stream stream) {
    check_plan(plan, Op::kApply, geo, x);
    run(x, mean, rstd, scale, offset, nullptr, y, plan, activation, 0, false, stream);
}

void norm_apply_add(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                    const Array& residual, const Array& y, const NormGeometry& geo, const Plan& plan,
                    const std::string& activation, Stream stream) {
    check_plan(plan, Op::kApplyAdd, geo, x);
    run(x, mean, rstd, scale, offset, &residual, y, plan, activation, 0, false, stream);
}

void norm_infer(const Array& x, const Array& mean, const Array& var, const Array* scale, const Array* offset,
                const Array* residual, const Array& y, const NormGeometry& geo, const Plan& plan,
                const std::string& activation, double epsilon, Stream stream) {
    check_plan(plan, Op::kInfer, geo, x);
    run(x, mean, var, scale, offset, residual, y, plan, activation, epsilon, true, stream);
}

}  // namespace convgpu::norm
