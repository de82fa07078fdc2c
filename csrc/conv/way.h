// Which way a convolution is computed: the plan of one of these engines.
#pragma once
#include <variant>

#include "channels_first/plan.h"
#include "depthwise/plan.h"
#include "packed/plan.h"
#include "tiled/plan.h"
#include "wgmma/plan.h"

namespace convgpu::conv {

// No product contributes to the result: every pixel is activation(bias), or 0.
struct FillPlan {};

struct Way {
    std::variant<FillPlan, TiledPlan, WgmmaPlan, PackedPlan, DepthwisePlan, DepthwiseWgradPlan, ChannelsFirstPlan> plan;
    bool fills_first = false;  // dgrad, where no tap reaches some pixels of gx: all are filled before
};

}  // namespace convgpu::conv
