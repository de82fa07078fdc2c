// Convolution, its gradients, and sums per channel, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays may have any strides that are
// whole elements; results must not overlap operands.
#pragma once
#include "../common/array.h"
#include "../common/geometry.h"
#include "../common/options.h"
#include "gather.h"

namespace convgpu::cpu {

// A convolution geometry with its gathers, which are made once.
struct ConvProblem {
    explicit ConvProblem(ConvGeometry geometry);
    ConvGeometry geo;
    std::vector<Gather> fprop, dgrad;
};

void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvProblem& problem,
                Activation activation, int threads);
void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvProblem& problem,
                Activation activation, int threads);
void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvProblem& problem, int threads);
void channel_sum(const Array& gy, const Array& gb, bool channels_last, int threads);

}  // namespace convgpu::cpu
