// Convolution: the launchers, one per direction. They run the plan that plan.h has made, and decide nothing.
//
// x and gx have the shape geo.x_shape(), w and gw geo.w_shape(), y and gy geo.y_shape(), in either data format. Raises
// std::invalid_argument where the plan is of another problem, and where arrays or workspace are not what it assumes.
#pragma once
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::conv {

// y = activation(bias + the sum over the taps of each window and its channels of x * w).
void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                const Plan& plan, Activation activation, const Workspace& workspace, Stream stream);
// gx = activation(bias + the sum over the windows that hold each pixel and their filters of gy * w).
void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                const Plan& plan, Activation activation, const Workspace& workspace, Stream stream);
// gw = the sum over all windows of x * gy.
void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Plan& plan,
                const Workspace& workspace, Stream stream);

// gb[c] = the sum of gy over everything but the channels, which are its last axis or its second: a bias gradient.
void channel_sum(const Array& gy, const Array& gb, const ChannelSumPlan& plan, const Workspace& workspace,
                 Stream stream);

// Any of the three directions, for arrays that have been checked. gw may be of the type of its sums (float32 for half
// types), where it is a part of a longer sum.
void run(const Plan& plan, const Operands& operands, Activation activation, const Workspace& workspace, Stream stream);

}  // namespace convgpu::conv
