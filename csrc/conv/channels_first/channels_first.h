// Convolution of channels_first arrays that are not empty: copied to channels_last, and the result back, as many images
// at a time as the workspace has room for.
#pragma once
#include "../channels_last.h"

namespace convgpu::conv {

void run_channels_first(Direction direction, const Operands& operands, const ConvGeometry& geo, const Options& options,
                        const Workspace& workspace, Stream stream);
Choice plan_channels_first(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                           const Device& device, size_t workspace_limit);

}  // namespace convgpu::conv
