// The launcher of the wgmma kernels, and the functions that start them for one type of factors.
#pragma once
#include "../../common/workspace.h"
#include "../problem/dgrad.h"
#include "../problem/fprop.h"
#include "../problem/wgrad.h"
#include "plan.h"

namespace convgpu::conv {

void launch_wgmma(const Problem& problem, const WgmmaPlan& plan, const Operands& operands, Activation activation,
                  const Device& device, const Workspace& workspace, Stream stream);

// What one launch needs to know beside its product.
struct WgmmaLaunch {
    const Problem& problem;
    const hopper::Plan* plan;
    const hopper::ScaledFactors* scaled;  // all images of the factors, in memory; null for half types
    const Device& device;
    Workspace workspace;  // for partial sums
    Stream stream;
    int64_t first;  // the product has `images` images from this one on
    int images;
};

// Launches one kernel. T is a half type, float for pairs of scaled float16, or hopper::Tf32 for the high halves of
// pairs. The instances of each type are compiled in a file of their own (instances.h). For dgrad, the launch has one
// phase.
template <class T>
void start_wgmma(const Fprop<hopper::Value<T>>& p, const WgmmaLaunch& launch);
template <class T>
void start_wgmma(const Dgrad<hopper::Value<T>>& p, const WgmmaLaunch& launch);
template <class T>
void start_wgmma(const Wgrad<hopper::Value<T>>& p, const WgmmaLaunch& launch);

}  // namespace convgpu::conv
