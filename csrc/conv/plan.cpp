#include "plan.h"

#include <stdexcept>

#include "../common/workspace.h"
#include "way.h"

namespace convgpu::conv {
namespace {

// Tells whether the result is a sum of no products at all.
bool has_no_terms(const Problem& problem) {
    const ConvGeometry& geo = problem.geo;
    if (geo.channels * geo.filters * geo.batch == 0 || geo.input_pixels() == 0 || geo.output_pixels() == 0) return true;
    return problem.direction == Direction::kDgrad && !is_depthwise(geo) && Phases(geo).empty();
}

// Returns the limit of workspace that holds if the caller sets none.
size_t default_limit(const Problem& problem, const Device& device) {
    if (is_depthwise(problem.geo) || problem.dtype != DType::kFloat32) return kWorkspaceLimit;
    const std::optional<Phases> phases = phases_of(problem);
    const size_t with_scaled = kWorkspaceLimit + bytes_of_scaled(problem, phases);
    return wgmma_refusal(problem, phases, device, with_scaled) ? kWorkspaceLimit : with_scaled;
}

template <class Kernel>
Plan plan_of(const Problem& problem, const Device& device, Kernel kernel, size_t workspace, bool fills_first = false) {
    return {problem, device, std::make_shared<Way>(Way{std::move(kernel), fills_first}), workspace};
}

// Plans a convolution that is not depthwise. On Hopper it runs on the wgmma kernels if these take the problem, or else
// on the packed kernel if that one does. Everything else runs on the tiled kernels, which take any geometry on any GPU.
Plan plan_dense(const Problem& problem, const Device& device, size_t limit) {
    const std::optional<Phases> phases = phases_of(problem);
    const bool fills_first = phases && !phases->complete;
    const char* no_wgmma = wgmma_refusal(problem, phases, device, limit);
    // float32 is scaled first, which copies it from any address, so its alignment does not matter.
    const bool takes_addresses = problem.aligned() || problem.dtype == DType::kFloat32;
    if (!no_wgmma && takes_addresses) {
        WgmmaPlan plan = plan_wgmma(problem, phases, device, limit);
        const size_t workspace = plan.workspace;
        return plan_of(problem, device, std::move(plan), workspace, fills_first);
    }
    const char* no_packed = nullptr;
    const bool asks = problem.direction == Direction::kFprop && !hopper::refusal(1, problem.dtype, true, device);
    if (asks && no_wgmma) {
        PackedPlan plan = plan_packed(problem, device);
        if (!plan.refusal) return plan_of(problem, device, std::move(plan), 0);
        no_packed = plan.refusal;
    }
    TiledPlan plan = plan_tiled(problem, phases, product_of(problem, phases ? &*phases : nullptr), device, limit);
    plan.no_wgmma = no_wgmma ? no_wgmma : "arrays_not_at_multiples_of_16_bytes";
    plan.no_packed = no_packed;
    const size_t workspace = plan.tile.workspace;
    return plan_of(problem, device, std::move(plan), workspace, fills_first);
}

// Returns the text of a plan, whichever kernels it is for.
struct Text {
    Direction direction;

    std::string operator()(const FillPlan&) const { return "fill_channels"; }
    std::string operator()(const TiledPlan& plan) const { return plan.text(direction); }
    std::string operator()(const WgmmaPlan& plan) const { return plan.text(direction); }
    std::string operator()(const PackedPlan& plan) const { return plan.text(); }
    std::string operator()(const DepthwisePlan& plan) const { return plan.text(direction); }
    std::string operator()(const DepthwiseWgradPlan& plan) const { return plan.text(); }
    std::string operator()(const ChannelsFirstPlan& plan) const { return plan.text(); }
};

}  // namespace

Plan plan_channels_last(const Problem& problem, const Device& device, size_t limit) {
    if (!is_depthwise(problem.geo)) return plan_dense(problem, device, limit);
    if (problem.direction != Direction::kWgrad) return plan_of(problem, device, plan_depthwise(problem), 0);
    const DepthwiseWgradPlan plan = plan_depthwise_wgrad(problem, device, limit);
    return plan_of(problem, device, plan, plan.workspace);
}

void check_alignment(int alignment) {
    for (int power = 1; power <= kFullAlignment; power *= 2) {
        if (alignment == power) return;
    }
    throw std::invalid_argument("plan: expected an alignment of 1, 2, 4, 8 or 16 bytes, got " +
                                std::to_string(alignment));
}

Plan plan(const Problem& problem, const Device& device, std::optional<size_t> limit) {
    check_alignment(problem.alignment);
    if (has_no_terms(problem)) return plan_of(problem, device, FillPlan{}, 0);
    const size_t most = limit ? *limit : default_limit(problem, device);
    if (problem.geo.channels_last) return plan_channels_last(problem, device, most);
    size_t workspace = 0;
    ChannelsFirstPlan plan = plan_channels_first(problem, device, most, workspace);
    return plan_of(problem, device, std::move(plan), workspace);
}

std::string Plan::kernel_text() const { return std::visit(Text{problem.direction}, way->plan); }

std::string Plan::text() const { return kernel_text() + " workspace=" + std::to_string(workspace); }

}  // namespace convgpu::conv
