#include "conv.h"

#include <stdexcept>
#include <tuple>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "channels_first/channels_first.h"
#include "depthwise/depthwise.h"
#include "packed/packed.h"
#include "passes/fill_channels.cuh"
#include "problem/dgrad.h"
#include "tiled/tiled.h"
#include "way.h"
#include "wgmma/wgmma.h"

namespace convgpu::conv {
namespace {

// Sets every element of the result to activation(bias), or to 0 where there is no bias. An addend is a bias of as many
// channels as there are elements. With a normalisation, the shift stands in the place of the bias.
void fill(const Problem& problem, const Operands& operands, Activation activation, Stream stream) {
    const ConvGeometry& geo = problem.geo;
    const Array& result = result_of(problem.direction, operands);
    const bool of_x = problem.direction == Direction::kDgrad;
    const int64_t channels = has_addend(operands) ? result.size() : of_x ? geo.channels : geo.filters;
    const int64_t inner = geo.channels_last ? 1 : of_x ? geo.input_pixels() : geo.output_pixels();
    dispatch_float(result.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        if (problem.direction == Direction::kWgrad) {
            return launch_fill_channels<T>(result.as<T>(), nullptr, nullptr, nullptr, Activation::kNone, result.size(),
                                           1, 1, stream);
        }
        const auto pointer = [](const Array* array) { return array ? array->as<const T>() : nullptr; };
        const auto* folded = operands.folded ? operands.folded->as<const Accumulator<T>>() : nullptr;
        launch_fill_channels<T>(result.as<T>(), pointer(operands.bias), folded, pointer(operands.residual), activation,
                                result.size(), channels, inner, stream);
    });
}

// Starts the kernels of a plan, whichever they are. Each engine's launcher is in the folder of the engine. The first
// word of the plan's text is the name of the kernel, and the kernel is in a file of that name.
struct Start {
    const Plan& plan;
    const Operands& operands;
    Activation activation;
    const Workspace& workspace;
    Stream stream;

    void operator()(const FillPlan&) const { fill(plan.problem, operands, activation, stream); }
    void operator()(const TiledPlan& tiled) const {
        launch_tiled(plan.problem, tiled, operands, activation, {}, workspace, stream);
    }
    void operator()(const WgmmaPlan& wgmma) const {
        launch_wgmma(plan.problem, wgmma, operands, activation, plan.device, workspace, stream);
    }
    void operator()(const PackedPlan& packed) const {
        launch_packed(plan.problem, packed, operands, activation, stream);
    }
    void operator()(const DepthwisePlan& depthwise) const {
        launch_depthwise(plan.problem, depthwise, operands, activation, stream);
    }
    void operator()(const DepthwiseWgradPlan& depthwise) const {
        launch_depthwise_wgrad(plan.problem, depthwise, operands, workspace, stream);
    }
    void operator()(const ChannelsFirstPlan& copies) const {
        launch_channels_first(copies, operands, activation, workspace, stream);
    }
};

bool same_geometry(const ConvGeometry& a, const ConvGeometry& b) {
    const auto facts = [](const ConvGeometry& g) {
        return std::tie(g.batch, g.channels, g.filters, g.size, g.kernel, g.stride, g.before, g.after, g.dilation,
                        g.groups, g.channels_last);
    };
    return facts(a) == facts(b);
}

void check_plan(Direction direction, const ConvGeometry& geo, const Array& result, const Plan& plan) {
    const std::string op = name_of(direction);
    const Problem& of = plan.problem;
    if (of.direction != direction) {
        throw std::invalid_argument(op + ": expected a plan of " + op + ", got one of " + name_of(of.direction));
    }
    if (of.dtype != result.dtype) {
        throw std::invalid_argument(op + ": expected a plan for arrays of " + name_of(result.dtype) + ", got one for " +
                                    name_of(of.dtype));
    }
    if (!same_geometry(of.geo, geo)) {
        throw std::invalid_argument(op + ": expected a plan of the same geometry, got one of x " +
                                    text_of(of.geo.x_shape()) + " and w " + text_of(of.geo.w_shape()) +
                                    " with other sizes or options");
    }
    if (plan.device != current_device()) {
        throw std::invalid_argument(op +
                                    ": expected a plan for the device in use, got one for another: " + plan.text());
    }
}

void check_and_run(Direction direction, const Operands& operands, const ConvGeometry& geo, const Plan& plan,
                   Activation activation, const Workspace& workspace, Stream stream) {
    const char* op = name_of(direction);
    const Array& result = result_of(direction, operands);
    const bool fprop = direction == Direction::kFprop, dgrad = direction == Direction::kDgrad;
    check_float(op, fprop ? "y" : dgrad ? "gx" : "gw", result);
    check_array(op, dgrad ? "gx" : "x", operands.x, geo.x_shape(), result.dtype);
    check_array(op, fprop || dgrad ? "w" : "gw", operands.w, geo.w_shape(), result.dtype);
    check_array(op, fprop ? "y" : "gy", operands.y, geo.y_shape(), result.dtype);
    const bool takes_addend = dgrad && geo.channels_last;
    if (has_addend(operands) && takes_addend) {
        check_array(op, "an addend in the place of the bias", *operands.bias, geo.x_shape(), result.dtype);
    } else if (operands.bias) {
        check_array(op, "bias", *operands.bias, {dgrad ? geo.channels : geo.filters}, result.dtype);
    }
    if (operands.folded) check_array(op, "folded", *operands.folded, {geo.filters, 2}, accumulator_of(result.dtype));
    if (operands.residual) check_array(op, "residual", *operands.residual, geo.y_shape(), result.dtype);
    check_plan(direction, geo, result, plan);
    if (operands.folded && !is_aligned(operands.folded->data, 2 * size_of(operands.folded->dtype))) {
        throw std::invalid_argument("conv_norm: expected factors and shifts that start at a multiple of a pair");
    }
    if (result.size() == 0) return;
    const auto bytes = static_cast<size_t>(plan.problem.alignment);
    for (const Array* array : {&operands.x, &operands.w, &operands.y, operands.residual}) {
        if (!array || array->size() == 0 || is_aligned(array->data, bytes)) continue;
        throw std::invalid_argument(std::string(op) + ": expected x, w and y to start at multiples of " +
                                    std::to_string(bytes) + " bytes, as the plan was made for, got another address");
    }
    workspace.check(op, plan.workspace);
    run(plan, operands, activation, workspace, stream);
}

}  // namespace

void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                const Plan& plan, Activation activation, const Workspace& workspace, Stream stream) {
    check_and_run(Direction::kFprop, {x, w, bias, y}, geo, plan, activation, workspace, stream);
}

void conv_norm(const Array& x, const Array& w, const Array& folded, const Array* residual, const Array& y,
               const ConvGeometry& geo, const Plan& plan, Activation activation, const Workspace& workspace,
               Stream stream) {
    if (!geo.channels_last) throw std::invalid_argument("conv_norm: expected channels_last, got channels_first");
    check_and_run(Direction::kFprop, {x, w, nullptr, y, &folded, residual}, geo, plan, activation, workspace, stream);
}

void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                const Plan& plan, Activation activation, const Workspace& workspace, Stream stream) {
    check_and_run(Direction::kDgrad, {gx, w, bias, gy}, geo, plan, activation, workspace, stream);
}

void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Plan& plan,
                const Workspace& workspace, Stream stream) {
    check_and_run(Direction::kWgrad, {x, gw, nullptr, gy}, geo, plan, Activation::kNone, workspace, stream);
}

void run(const Plan& plan, const Operands& operands, Activation activation, const Workspace& workspace, Stream stream) {
    if (plan.way->fills_first) fill(plan.problem, operands, activation, stream);
    std::visit(Start{plan, operands, activation, workspace, stream}, plan.way->plan);
}

}  // namespace convgpu::conv
