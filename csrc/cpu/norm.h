// Normalisation and its gradients, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays lie without gaps; statistics,
// parameters and their gradients are in the dtype of sums. Results must not overlap operands. An array that may be
// absent is a pointer.
#pragma once
#include "../common/array.h"
#include "../norm/geometry.h"
#include "calls/norm.h"

namespace convgpu::cpu {

NormActivation norm_activation_of(const std::string& name);  // throws std::invalid_argument

struct NormRunning {
    const Array *mean = nullptr, *var = nullptr, *new_mean = nullptr, *new_var = nullptr;
    double momentum = 1;
    int64_t correction = 0;
};
void norm_stats(const Array& x, const Array& mean, const Array& rstd, const NormRunning& running,
                const NormGeometry& geo, double epsilon, int threads);

void norm_apply(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                const Array* residual, const Array& y, const NormGeometry& geo, NormActivation activation, int threads);

// Statistics of channels: a mean and a variance.
void norm_infer(const Array& x, const Array& mean, const Array& var, const Array* scale, const Array* offset,
                const Array* residual, const Array& y, const NormGeometry& geo, NormActivation activation,
                double epsilon, int threads);

// `y` is the activation's result, from which its slope follows; without it the slope follows from x.
struct NormGradients {
    const Array *gx = nullptr, *gscale = nullptr, *goffset = nullptr, *gresidual = nullptr;
};
void norm_dgrad(const Array& gy, const Array& x, const Array& mean, const Array& rstd, const Array* scale,
                const Array* offset, const Array* y, const NormGradients& results, const NormGeometry& geo,
                NormActivation activation, int threads);

}  // namespace convgpu::cpu
