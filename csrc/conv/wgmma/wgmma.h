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

// What one launch is told beside its product.
struct WgmmaLaunch {
    const Problem& problem;
    const hopper::Plan* plan;
    const hopper::ScaledFactors* scaled;  // all images of the factors, in memory; null for half types
    const Device& device;
    Workspace workspace;  // for partial sums
    Stream stream;
    int64_t first;  // the images of the product: `images` from `first` on
    int images;
};

// T: a half type, float for pairs of scaled float16, or hopper::Tf32 for their high halves. Each is compiled in a file
// of its own (instances.h). Dgrad has one phase.
template <class T>
void start_wgmma(const Fprop<hopper::Value<T>>& p, const WgmmaLaunch& launch);
template <class T>
void start_wgmma(const Dgrad<hopper::Value<T>>& p, const WgmmaLaunch& launch);
template <class T>
void start_wgmma(const Wgrad<hopper::Value<T>>& p, const WgmmaLaunch& launch);

}  // namespace convgpu::conv
