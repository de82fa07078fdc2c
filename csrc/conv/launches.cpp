// How many kernels a plan of a convolution starts, and how long they take by the estimates. This file follows the
// launchers (conv.cu, and the .cu file of each engine) step by step.
#include "../hopper/launches.h"
#include "plan.h"
#include "way.h"

namespace convgpu::conv {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Counts the launches of a plan, whichever engine it is for.
struct Launches {
    const ConvGeometry& geo;

    int64_t operator()(const FillPlan&) const { return 1; }
    int64_t operator()(const TiledPlan& plan) const {
        int64_t groups_of_phases = 1;
        if (plan.phases) {
            for (const auto& axis : plan.phases->axis) {
                groups_of_phases *= ceil_div(static_cast<int64_t>(axis.size()), plan.phases_at_once);
            }
        }
        return ceil_div(geo.batch, plan.product.images) * groups_of_phases * (plan.tile.splits > 1 ? 2 : 1);
    }
    int64_t operator()(const WgmmaPlan& plan) const {
        int64_t of_part = 0;
        for (const hopper::Plan& launch : plan.launches) of_part += hopper::launches_of(launch);
        const int64_t products = ceil_div(geo.batch, plan.product.images) * of_part;
        return plan.scaled ? hopper::kLaunchesOfScaling + products + (*this)(plan.scaled->marked) : products;
    }
    int64_t operator()(const PackedPlan& plan) const { return ceil_div(geo.batch, plan.images); }
    int64_t operator()(const DepthwisePlan&) const { return 1; }
    int64_t operator()(const DepthwiseWgradPlan& plan) const { return plan.work.parts > 1 ? 2 : 1; }
    int64_t operator()(const ChannelsFirstPlan& plan) const {
        int64_t count = plan.w ? 1 : 0;
        for (int64_t first = 0; first < plan.batch; first += plan.images) {
            const ChannelsFirstPart& part = plan.part(first);
            count += (part.x ? 1 : 0) + (part.y ? 1 : 0) + part.plan.launches();
            if (plan.sums_up_parts() && first > 0) ++count;
        }
        return count;
    }
};

// Adds up the estimates of a plan in clocks; 0 for engines that make none.
struct Clocks {
    const ConvGeometry& geo;

    template <class Plan>
    double operator()(const Plan&) const {
        return 0;
    }
    double operator()(const WgmmaPlan& plan) const {
        double of_part = 0;
        for (const hopper::Plan& launch : plan.launches) of_part += launch.clocks;
        return static_cast<double>(ceil_div(geo.batch, plan.product.images)) * of_part;
    }
    double operator()(const PackedPlan& plan) const { return plan.clocks; }
};

}  // namespace

int64_t Plan::launches() const {
    const ConvGeometry& geo = problem.geo;
    const Shape result = problem.direction == Direction::kFprop   ? geo.y_shape()
                         : problem.direction == Direction::kDgrad ? geo.x_shape()
                                                                  : geo.w_shape();
    if (Array{nullptr, result, {}, problem.dtype}.size() == 0) return 0;
    return (way->fills_first ? 1 : 0) + std::visit(Launches{geo}, way->plan);
}

double Plan::clocks() const { return std::visit(Clocks{problem.geo}, way->plan); }

}  // namespace convgpu::conv
