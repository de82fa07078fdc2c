// Convolution of channels_last arrays that are not empty: what stands behind the launchers of conv.h. Arrays have been
// checked; filters are (spatial..., C/groups, K).
#pragma once
#include <string>

#include "../common/activation.h"
#include "../common/array.h"
#include "../common/geometry.h"
#include "../common/precision.h"
#include "../common/workspace.h"
#include "../device/properties.h"

namespace convgpu::conv {

enum class Direction { kFprop, kDgrad, kWgrad };

struct Options {
    Activation activation = Activation::kNone;  // of fprop and dgrad
    Precision precision = Precision::kFloat32;
};

// A choice of kernel, in words ("fprop_tiled tile=128 ..."), and the workspace that it wants.
struct Choice {
    std::string text;
    size_t workspace = 0;
};

// Tiles of a matrix product whose factors are read from the images as it goes (implicit GEMM): any geometry.
void fprop_tiled(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                 const Options& options, const Workspace& workspace, Stream stream);
void dgrad_tiled(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                 const Options& options, const Workspace& workspace, Stream stream);
void wgrad_tiled(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options& options,
                 const Workspace& workspace, Stream stream);
Choice plan_tiled(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                  const Device& device, size_t workspace_limit);

// Depthwise convolution: one channel of x for each group, any number of filters for it.
inline bool is_depthwise(const ConvGeometry& geo) { return geo.groups == geo.channels && geo.channels > 1; }
void fprop_depthwise(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                     const Options& options, const Workspace& workspace, Stream stream);
void dgrad_depthwise(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                     const Options& options, const Workspace& workspace, Stream stream);
void wgrad_depthwise(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options& options,
                     const Workspace& workspace, Stream stream);
Choice plan_depthwise(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                      const Device& device, size_t workspace_limit);

}  // namespace convgpu::conv
