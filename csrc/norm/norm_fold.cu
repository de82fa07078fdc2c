#include "norm_fold.cuh"

#include "arguments.h"
#include "norm.h"

namespace convgpu::norm {

void norm_fold(const Array& mean, const Array& var, const Array* scale, const Array* offset, const Array* bias,
               const Array& folded, const NormGeometry& geo, const Plan& plan, double epsilon, Stream stream) {
    const char* op = name_of(Op::kFold);
    const int64_t channels = geo.channels;
    check_plan(plan, Op::kFold, geo, mean);
    check_parameter(op, "mean", &mean, {channels}, plan.dtype);
    check_parameter(op, "var", &var, {channels}, plan.dtype);
    check_parameter(op, "scale", scale, {channels}, plan.dtype);
    check_parameter(op, "offset", offset, {channels}, plan.dtype);
    check_parameter(op, "bias", bias, {channels}, plan.dtype);
    check_parameter(op, "folded", &folded, {channels, 2}, plan.dtype);
    if (channels == 0) return;
    const auto run = [&](auto zero) {
        using A = decltype(zero);
        launch_norm_fold<A>(mean.as<const A>(), var.as<const A>(), pointer<A>(scale), pointer<A>(offset),
                            pointer<A>(bias), folded.as<A>(), static_cast<A>(epsilon), static_cast<int>(channels),
                            stream);
    };
    plan.dtype == DType::kFloat64 ? run(0.0) : run(0.0f);
}

}  // namespace convgpu::norm
