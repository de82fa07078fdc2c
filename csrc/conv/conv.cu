#include "conv.h"

#include <stdexcept>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "channels_first/channels_first.h"
#include "channels_last.h"
#include "passes/fill_channels.cuh"

namespace convgpu::conv {
namespace {

// Whether no product contributes to the result.
bool has_no_terms(Direction direction, const ConvGeometry& geo) {
    const bool no_pixels = geo.input_pixels() == 0 || geo.output_pixels() == 0;
    switch (direction) {
        case Direction::kFprop:
            return geo.channels == 0 || no_pixels;
        case Direction::kDgrad:
            return geo.filters == 0 || no_pixels;
        case Direction::kWgrad:
            break;
    }
    return geo.batch == 0 || no_pixels;
}

const Array& result_of(Direction direction, const Operands& o) {
    return direction == Direction::kFprop ? o.y : direction == Direction::kDgrad ? o.x : o.w;
}

void fill(Direction direction, const Operands& operands, const ConvGeometry& geo, const Options& options,
          Stream stream) {
    const Array& result = result_of(direction, operands);
    const bool of_x = direction == Direction::kDgrad;
    const int64_t channels = of_x ? geo.channels : geo.filters;
    const int64_t inner = geo.channels_last ? 1 : of_x ? geo.input_pixels() : geo.output_pixels();
    dispatch_float(result.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        if (direction == Direction::kWgrad) {
            return launch_fill_channels<T>(result.as<T>(), nullptr, Activation::kNone, result.size(), 1, 1, stream);
        }
        const T* bias = operands.bias ? operands.bias->as<const T>() : nullptr;
        launch_fill_channels<T>(result.as<T>(), bias, options.activation, result.size(), channels, inner, stream);
    });
}

void run(Direction direction, const Operands& operands, const ConvGeometry& geo, const Options& options,
         const Workspace& workspace, Stream stream) {
    const char* op = name_of(direction);
    const Array& result = result_of(direction, operands);
    const bool fprop = direction == Direction::kFprop, dgrad = direction == Direction::kDgrad;
    check_float(op, fprop ? "y" : dgrad ? "gx" : "gw", result);
    check_array(op, dgrad ? "gx" : "x", operands.x, geo.x_shape(), result.dtype);
    check_array(op, fprop || dgrad ? "w" : "gw", operands.w, geo.w_shape(), result.dtype);
    check_array(op, fprop ? "y" : "gy", operands.y, geo.y_shape(), result.dtype);
    if (operands.bias) {
        check_array(op, "bias", *operands.bias, {dgrad ? geo.channels : geo.filters}, result.dtype);
    }
    if (result.size() == 0) return;
    if (has_no_terms(direction, geo)) return fill(direction, operands, geo, options, stream);
    if (geo.channels_last) return run_channels_last(direction, operands, geo, options, workspace, stream);
    run_channels_first(direction, operands, geo, options, workspace, stream);
}

}  // namespace

void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                const Options& options, const Workspace& workspace, Stream stream) {
    run(Direction::kFprop, {x, w, bias, y}, geo, options, workspace, stream);
}

void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                const Options& options, const Workspace& workspace, Stream stream) {
    run(Direction::kDgrad, {gx, w, bias, gy}, geo, options, workspace, stream);
}

void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options& options,
                const Workspace& workspace, Stream stream) {
    run(Direction::kWgrad, {x, gw, nullptr, gy}, geo, options, workspace, stream);
}

Direction direction_of(const std::string& op) {
    for (const Direction direction : {Direction::kFprop, Direction::kDgrad, Direction::kWgrad}) {
        if (op == name_of(direction)) return direction;
    }
    throw std::invalid_argument("plan: expected conv_fprop, conv_dgrad or conv_wgrad, got " + op);
}

Choice plan(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options, const Device& device,
            std::optional<size_t> limit) {
    const bool empty = geo.channels * geo.filters * geo.batch == 0;
    if (empty || has_no_terms(direction, geo)) return {"fill_channels"};
    const bool tiled = !limit && !is_depthwise(geo);
    const size_t most = tiled ? default_limit(direction, geo, dtype, options, device) : limit.value_or(kWorkspaceLimit);
    return geo.channels_last ? plan_channels_last(direction, geo, dtype, options, device, most)
                             : plan_channels_first(direction, geo, dtype, options, device, most);
}

}  // namespace convgpu::conv
