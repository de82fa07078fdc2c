// Plans which depthwise kernel computes a problem, and how. These kernels take any geometry, on any GPU.
#pragma once
#include "../../device/properties.h"
#include "conv_wgrad_depthwise.cuh"
#include "problem.h"

namespace convgpu::conv {

DepthwiseProblem depthwise_problem_of(Direction direction, const ConvGeometry& geo);

// The plan of fprop and of dgrad.
struct DepthwisePlan {
    int vector = 1;  // channels of a thread
    // So many taps of a row of the filter are done at a time; 0 stands for depthwise_any, which does them one by one.
    int taps = 0;
    int stride = 0;  // the stride along w; 0 means any

    std::string text(Direction direction) const;
};
DepthwisePlan plan_depthwise(const Problem& problem);

struct DepthwiseWgradPlan {
    int vector = 1;                      // channels of a thread
    int rows = 1, taps = 1, stride = 0;  // of the filter that a thread owns, and along w; stride 0 means any
    DepthwiseWork work;
    size_t workspace = 0;

    std::string text() const;
};
DepthwiseWgradPlan plan_depthwise_wgrad(const Problem& problem, const Device& device, size_t workspace_limit);

}  // namespace convgpu::conv
