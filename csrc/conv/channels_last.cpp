#include "channels_last.h"

namespace convgpu::conv {

void run_channels_last(Direction direction, const Operands& operands, const ConvGeometry& geo, const Options& options,
                       const Workspace& workspace, Stream stream) {
    const auto& [x, w, bias, y] = operands;
    switch (direction) {
        case Direction::kFprop:
            return is_depthwise(geo) ? fprop_depthwise(x, w, bias, y, geo, options, workspace, stream)
                                     : fprop_tiled(x, w, bias, y, geo, options, workspace, stream);
        case Direction::kDgrad:
            return is_depthwise(geo) ? dgrad_depthwise(y, w, bias, x, geo, options, workspace, stream)
                                     : dgrad_tiled(y, w, bias, x, geo, options, workspace, stream);
        case Direction::kWgrad:
            return is_depthwise(geo) ? wgrad_depthwise(x, y, w, geo, options, workspace, stream)
                                     : wgrad_tiled(x, y, w, geo, options, workspace, stream);
    }
}

Choice plan_channels_last(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                          const Device& device, size_t workspace_limit) {
    return is_depthwise(geo) ? plan_depthwise(direction, geo, dtype, options, device, workspace_limit)
                             : plan_tiled(direction, geo, dtype, options, device, workspace_limit);
}

}  // namespace convgpu::conv
