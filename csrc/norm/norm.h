// The launchers of normalisation, one per op, each with a plan for that op. x, residual, y, gy and gx have
// geo.size() elements in the order of `geo`. Statistics and parameters have the dtype of sums: float32 for half types,
// else that of x. mean has the shape (2, outer, groups): what the mean is rounded to, and what is left of it. rstd is
// 1 / sqrt(var + epsilon), (outer, groups). Parameters have the shape (channels,). Activations are relu, relu6, silu,
// or none, "". The counters are an int32 array of kCounters zeros, which are zeros again afterwards; calls that run at
// the same time need counters of their own.
#pragma once
#include "../common/array.h"
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::norm {

// Computes mean and rstd and, unless they are null, new_mean = momentum * old_mean + (1 - momentum) * mean, and new_var
// likewise from the variance with the divisor count - correction.
void norm_stats(const Array& x, const Array* old_mean, const Array* old_var, const Array& mean, const Array& rstd,
                const Array* new_mean, const Array* new_var, const Array& counters, const NormGeometry& geo,
                const Plan& plan, double epsilon, double momentum, int64_t correction, const Workspace& workspace,
                Stream stream);
// Computes y = activation((x - mean) * rstd * scale + offset).
void norm_apply(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                const Array& y, const NormGeometry& geo, const Plan& plan, const std::string& activation,
                Stream stream);
// Computes y = activation((x - mean) * rstd * scale + offset + residual).
void norm_apply_add(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                    const Array& residual, const Array& y, const NormGeometry& geo, const Plan& plan,
                    const std::string& activation, Stream stream);
// Computes y = activation((x - mean) / sqrt(var + epsilon) * scale + offset + residual). mean and var are (channels,).
void norm_infer(const Array& x, const Array& mean, const Array& var, const Array* scale, const Array* offset,
                const Array* residual, const Array& y, const NormGeometry& geo, const Plan& plan,
                const std::string& activation, double epsilon, Stream stream);
// Computes folded[channel] = (factor, shift), with which (x + bias - mean) / sqrt(var + epsilon) * scale + offset is
// x * factor + shift. All arrays are (channels,) and of the dtype of sums, and folded is (channels, 2).
void norm_fold(const Array& mean, const Array& var, const Array* scale, const Array* offset, const Array* bias,
               const Array& folded, const NormGeometry& geo, const Plan& plan, double epsilon, Stream stream);
// Computes the gradients that the plan says are wanted; the others are null. y is given where there was a residual. The
// means, (2, outer, groups), are memory that the launcher needs where gx is wanted.
void norm_dgrad(const Array& gy, const Array& x, const Array& mean, const Array& rstd, const Array* scale,
                const Array* offset, const Array* y, const Array* gx, const Array* gscale, const Array* goffset,
                const Array* gresidual, const Array* means, const Array& counters, const NormGeometry& geo,
                const Plan& plan, const std::string& activation, const Workspace& workspace, Stream stream);

}  // namespace convgpu::norm
