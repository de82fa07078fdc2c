// Which depthwise kernel computes a problem, and how: any geometry, on any GPU.
#pragma once
#include "../../device/properties.h"
#include "conv_wgrad_depthwise.cuh"
#include "problem.h"

namespace convgpu::conv {

DepthwiseProblem depthwise_problem_of(Direction direction, const ConvGeometry& geo);

// fprop and dgrad.
struct DepthwisePlan {
    int vector = 1;  // channels of a thread
    int taps = 0;    // of a row of the filter, at a time; 0: depthwise_any, which takes them one by one
    int stride = 0;  // along w; 0: any

    std::string text(Direction direction) const;
};
DepthwisePlan plan_depthwise(const Problem& problem);

struct DepthwiseWgradPlan {
    int vector = 1;                      // channels of a thread
    int rows = 1, taps = 1, stride = 0;  // of the filter, of a thread; stride 0: any
    DepthwiseWork work;
    size_t workspace = 0;

    std::string text() const;
};
DepthwiseWgradPlan plan_depthwise_wgrad(const Problem& problem, const Device& device, size_t workspace_limit);

}  // namespace convgpu::conv
