// One convolution of channels_last arrays that are not empty, by the kernel made for its kind.
#pragma once
#include "kernels.h"

namespace convgpu::conv {

// The operands of any direction: of fprop x, w -> y; of dgrad y, w -> x; of wgrad x, y -> w.
struct Operands {
    Array x, w;
    const Array* bias;
    Array y;
};

void run_channels_last(Direction direction, const Operands& operands, const ConvGeometry& geo, const Options& options,
                       const Workspace& workspace, Stream stream);
Choice plan_channels_last(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                          const Device& device, size_t workspace_limit);

}  // namespace convgpu::conv
