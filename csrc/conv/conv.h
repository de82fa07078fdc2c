// The launchers of convolution, one per direction. They run the plan that plan.h has made, and decide nothing.
//
// x and gx have the shape geo.x_shape(), w and gw geo.w_shape(), y and gy geo.y_shape(), in either data format. The
// launchers throw std::invalid_argument if the plan is of another problem, or if arrays or workspace are not as it
// assumes.
#pragma once
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::conv {

// Computes y = activation(bias + the sum of x * w over the taps of each window and its channels).
void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                const Plan& plan, Activation activation, const Workspace& workspace, Stream stream);
// Computes y = activation((the sum of x * w) * factor + shift + residual), where `folded` has the factor and the shift
// of each filter, (filters, 2), in the type of sums. It runs the plan of conv_fprop, and only in channels_last. The
// activation may be relu6 or silu too.
void conv_norm(const Array& x, const Array& w, const Array& folded, const Array* residual, const Array& y,
               const ConvGeometry& geo, const Plan& plan, Activation activation, const Workspace& workspace,
               Stream stream);
// Computes gx = activation(bias + the sum of gy * w over the windows that hold each pixel and over their filters). In
// the place of the bias, which has a value for each channel, there may be an addend of the shape of gx, in
// channels_last.
void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                const Plan& plan, Activation activation, const Workspace& workspace, Stream stream);
// Computes gw = the sum of x * gy over all windows.
void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Plan& plan,
                const Workspace& workspace, Stream stream);

// Computes a bias gradient, gb[c] = the sum of gy over everything but the channels. The channels are the last axis or
// the second axis of gy. The counters are an int32 array of kCounters zeros, which are zeros again afterwards; calls
// that run at the same time need counters of their own.
void channel_sum(const Array& gy, const Array& gb, const Array& counters, const ChannelSumPlan& plan,
                 const Workspace& workspace, Stream stream);

// Runs any of the three directions on arrays that have been checked. gw may have the type of its sums (float32 for half
// types), namely where it is a part of a longer sum.
void run(const Plan& plan, const Operands& operands, Activation activation, const Workspace& workspace, Stream stream);

}  // namespace convgpu::conv
