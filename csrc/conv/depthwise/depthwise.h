// The launcher of the depthwise kernels, and the functions that start them for one dtype.
#pragma once
#include "../../common/workspace.h"
#include "plan.h"

namespace convgpu::conv {

void launch_depthwise(const Problem& problem, const DepthwisePlan& plan, const Operands& operands,
                      Activation activation, Stream stream);
void launch_depthwise_wgrad(const Problem& problem, const DepthwiseWgradPlan& plan, const Operands& operands,
                            const Workspace& workspace, Stream stream);

// Launches one kernel. The instances for each dtype are compiled in a file of their own (instances.h).
template <class T>
void start_depthwise(Direction direction, const DepthwisePlan& plan, const T* source, const T* w, T* result,
                     const DepthwiseProblem& p, const DepthwiseEpilogue<T>& epilogue, Stream stream);
template <class T>
void start_depthwise_wgrad(const DepthwiseWgradPlan& plan, const T* x, const T* gy, const PartOfResult<T>& gw,
                           const DepthwiseProblem& p, Stream stream);

}  // namespace convgpu::conv
