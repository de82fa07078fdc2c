// The way in which a convolution is computed: the plan of one of these engines.
#pragma once
#include <variant>

#include "channels_first/plan.h"
#include "depthwise/plan.h"
#include "packed/plan.h"
#include "tiled/plan.h"
#include "wgmma/plan.h"

namespace convgpu::conv {

// A plan for a convolution to which no product contributes. Every result is activation(bias), or 0.
struct FillPlan {};

struct Way {
    std::variant<FillPlan, TiledPlan, WgmmaPlan, PackedPlan, DepthwisePlan, DepthwiseWgradPlan, ChannelsFirstPlan> plan;
    bool fills_first = false;  // whether dgrad first fills all of gx, because no tap reaches some of its pixels
};

}  // namespace convgpu::conv
