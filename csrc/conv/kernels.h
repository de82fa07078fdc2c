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

inline const char* name_of(Direction direction) {
    return direction == Direction::kFprop ? "conv_fprop" : direction == Direction::kDgrad ? "conv_dgrad" : "conv_wgrad";
}

struct Options {
    Activation activation = Activation::kNone;  // of fprop and dgrad
    Precision precision = Precision::kFloat32;
    // Pixels of one launch of the tiled kernels, which count them in 32 bits, with room for a tile at the end: larger
    // batches run in parts. Tests lower it.
    int64_t pixels_at_once = (int64_t(1) << 31) - 256;
};

// A choice of kernel, in words ("fprop_tiled tile=128 ..."), and the workspace that it wants: at most the limit.
// A launcher may be given less than its choice wants, and then chooses again.
struct Choice {
    std::string text;
    size_t workspace = 0;
};

// gw is of x's dtype or of its accumulator's: float32 for half types, where it is a part of a longer sum.

// Tiles of a matrix product whose factors are read from the images as it goes (implicit GEMM): any geometry.
void fprop_tiled(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                 const Options& options, const Workspace& workspace, Stream stream);
void dgrad_tiled(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                 const Options& options, const Workspace& workspace, Stream stream);
void wgrad_tiled(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options& options,
                 const Workspace& workspace, Stream stream);
Choice plan_tiled(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                  const Device& device, size_t workspace_limit);
// kWorkspaceLimit, and what scaled factors of float32 take besides, where it runs so.
size_t default_limit(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                     const Device& device);

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
