#include "wgmma.h"

#include "../tiled/tiled.h"

namespace convgpu::conv {
namespace {

// Launches the kernel for all parts of the batch and, for dgrad, for all phases of each part, one launch after the
// other.
template <class T>
void start_all(const WgmmaPlan& plan, const Operands& operands, Activation activation, WgmmaLaunch launch) {
    const Problem& problem = launch.problem;
    const auto each = [&](auto use) {
        each_part(problem.geo, plan.product.images, [&](int64_t first, int images) {
            launch.first = first;
            launch.images = images;
            use(first, images);
        });
    };
    using V = hopper::Value<T>;
    if (problem.direction == Direction::kFprop) {
        auto p = fprop_of<V>(problem, plan.product, operands, activation);
        each([&](int64_t first, int images) {
            set_images(p, operands, first, images);
            start_wgmma<T>(p, launch);
        });
    } else if (problem.direction == Direction::kWgrad) {
        auto p = wgrad_of<V>(problem, plan.product, operands);
        each([&](int64_t first, int images) {
            set_images(p, operands, first, images);
            start_wgmma<T>(p, launch);
        });
    } else {
        auto p = dgrad_of<V>(problem, plan.product, *plan.phases, operands, activation);
        each([&](int64_t first, int images) {
            set_images(p, *plan.phases, operands, first, images);
            launch.plan = plan.launches.data();
            each_phases(p, *plan.phases, 1, [&] {
                start_wgmma<T>(p, launch);
                ++launch.plan;
            });
        });
    }
}

// Scales the factors, and multiplies them. Then the tiled kernel computes the tiles again for which scaled float16 was
// not accurate enough. Its workspace is the one that the factors took.
void launch_scaled(const Problem& problem, const WgmmaPlan& plan, const Operands& operands, Activation activation,
                   const Device& device, const Workspace& workspace, Stream stream) {
    const bool reads_x = problem.direction != Direction::kDgrad, reads_w = problem.direction != Direction::kWgrad;
    hopper::ScaledFactors scaled = plan.scaled->factors;
    scaled.a.from.x = (reads_x ? operands.x : operands.y).as<const float>();
    scaled.b.from.x = (reads_w ? operands.w : operands.y).as<const float>();
    const Workspace rest = scaled.fill(workspace, stream);
    const WgmmaLaunch launch{problem, plan.launches.data(), &scaled, device, rest, stream, 0, 0};
    if (problem.precision == Precision::kTf32) {
        start_all<hopper::Tf32>(plan, operands, activation, launch);
    } else {
        start_all<float>(plan, operands, activation, launch);
    }
    launch_tiled(problem, plan.scaled->marked, operands, activation, scaled.marks, scaled.without_factors(workspace),
                 stream);
}

}  // namespace

void launch_wgmma(const Problem& problem, const WgmmaPlan& plan, const Operands& operands, Activation activation,
                  const Device& device, const Workspace& workspace, Stream stream) {
    if (plan.scaled) return launch_scaled(problem, plan, operands, activation, device, workspace, stream);
    const WgmmaLaunch launch{problem, plan.launches.data(), nullptr, device, workspace, stream, 0, 0};
    if (problem.dtype == DType::kFloat16) {
        start_all<__half>(plan, operands, activation, launch);
    } else {
        start_all<__nv_bfloat16>(plan, operands, activation, launch);
    }
}

}  // namespace convgpu::conv
