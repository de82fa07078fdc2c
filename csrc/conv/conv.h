// Convolution: the launchers, one per direction. x and gx have the shape geo.x_shape(), w and gw geo.w_shape(), y and
// gy geo.y_shape(), in either data format and of one floating dtype; geo has been checked. Options stand in kernels.h.
#pragma once
#include <optional>

#include "kernels.h"

namespace convgpu::conv {

// y = activation(bias + the sum over the taps of each window and its channels of x * w).
void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                const Options& options, const Workspace& workspace, Stream stream);
// gx = activation(bias + the sum over the windows that hold each pixel and their filters of gy * w).
void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                const Options& options, const Workspace& workspace, Stream stream);
// gw = the sum over all windows of x * gy.
void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options& options,
                const Workspace& workspace, Stream stream);

// gb[c] = the sum of gy over everything but the channels, which are its last axis or its second: a bias gradient.
void channel_sum(const Array& gy, const Array& gb, bool channels_last, const Workspace& workspace, Stream stream);
Choice plan_channel_sum(const Shape& gy, bool channels_last, DType dtype, const Device& device, size_t limit);

Direction direction_of(const std::string& op);  // "conv_fprop", "conv_dgrad" or "conv_wgrad"

// What would run on arrays aligned to 16 bytes, in words, and the workspace that it wants: at most `limit` bytes,
// unless a single image of channels_first and its filters take more; without a limit, default_limit's.
Choice plan(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options, const Device& device,
            std::optional<size_t> limit);

}  // namespace convgpu::conv
