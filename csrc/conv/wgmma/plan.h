// What the Hopper kernels take of a convolution, and the choice of their tiles.
#pragma once
#include "../../hopper/plan.h"
#include "../../hopper/scaled.h"
#include "../kernels.h"
#include "../problem/phases.h"
#include "../tiled/plan.h"

namespace convgpu::conv {

// Why a convolution of aligned arrays runs on the portable kernels, in words joined by underscores; null if it need
// not. `phases`: those of dgrad, else null.
const char* wgmma_refusal(Direction direction, const ConvGeometry& geo, const Phases* phases, DType dtype,
                          const Options& options, const Device& device, size_t workspace_limit);

// Float32 factors that are still to be found in memory.
hopper::ScaledFactors scaled_of(Direction direction, const ConvGeometry& geo, const Phases* phases,
                                const Options& options);

// The taps and channels along the depth of the sums (of wgrad: the rows of gw), in whole lines of 64 for each tap.
int64_t length_in_lines(Direction direction, const ConvGeometry& geo, int64_t taps);

// The choice for aligned arrays that wgmma_refusal lets through.
Choice plan_wgmma(Direction direction, const ConvGeometry& geo, const Phases* phases, DType dtype,
                  const Options& options, const Device& device, size_t workspace_limit);

// Whether the images of windows over three axes are described to TMA with all three.
bool has_volumes(const WindowAxis& d);

// The same windows, stepping forward from tap to tap.
WindowAxis forward(const WindowAxis& axis);

// Each phase of dgrad by itself.
std::vector<Phases> single_phases(const Phases& phases);

}  // namespace convgpu::conv
