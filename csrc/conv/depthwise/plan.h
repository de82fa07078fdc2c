// Which depthwise kernel computes which problem: decided by geometry, dtype, alignment and the device alone.
#pragma once
#include "problem.h"
#include "depthwise_wgrad.cuh"

namespace convgpu::conv {

DepthwiseProblem depthwise_problem_of(Direction direction, const ConvGeometry& geo);

// fprop and dgrad. `aligned`: all arrays start at multiples of 16 bytes.
struct DepthwisePlan {
    int vector = 1;
    int taps = 0;  // of a row, at a time; 0: depthwise_any
    int stride = 0;
};
DepthwisePlan plan_depthwise_window(const ConvGeometry& geo, DType dtype, bool aligned);

struct DepthwiseWgradPlan {
    int vector = 1;
    int rows = 1, taps = 1, stride = 0;  // of a thread; stride 0: any
    DepthwiseWork work;
    size_t workspace = 0;
};
DepthwiseWgradPlan plan_depthwise_wgrad(const ConvGeometry& geo, DType dtype, bool aligned, const Device& device,
                                        size_t workspace_limit);

}  // namespace convgpu::conv
