// The launcher of convolutions on channels_first arrays.
#pragma once
#include "../../common/workspace.h"
#include "../../device/launch.h"
#include "plan.h"

namespace convgpu::conv {

void launch_channels_first(const ChannelsFirstPlan& plan, const Operands& operands, Activation activation,
                           const Workspace& workspace, Stream stream);

}  // namespace convgpu::conv
