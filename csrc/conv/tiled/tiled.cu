#include "tiled.h"

#include "../../common/dispatch.h"
#include "../../tile/simt.h"
#include "../../tile/tensor_core.h"

namespace convgpu::conv {
namespace {

// Chooses the engine: half types run on tensor cores, float64 on ordinary multiply-adds, and float32 where its
// precision says.
template <template <class> class P, class T>
void start(const P<T>& p, int64_t items, const tile::Plan& plan, const Workspace& workspace, Stream stream) {
    const auto count = static_cast<int>(items);
    if constexpr (sizeof(T) == 2) {
        start_tiled<tile::TensorCore>(p, count, plan, workspace, stream);
    } else if constexpr (sizeof(T) == 8) {
        start_tiled<tile::Simt>(p, count, plan, workspace, stream);
    } else if (plan.tensor_core) {
        start_tiled<tile::TensorCore>(p, count, plan, workspace, stream);
    } else {
        start_tiled<tile::Simt>(p, count, plan, workspace, stream);
    }
}

// Launches the kernel for all parts of the batch and, for dgrad, for all phases of each part.
template <class T>
void start_all(const Problem& problem, const TiledPlan& plan, const Operands& operands, Activation activation,
               const tile::Marks& wanted, const Workspace& workspace, Stream stream) {
    const ConvGeometry& geo = problem.geo;
    const auto each = [&](auto& p, auto use) {
        p.wanted = wanted;
        each_part(geo, plan.product.images, use);
    };
    if (problem.direction == Direction::kFprop) {
        auto p = fprop_of<T>(problem, plan.product, operands, activation);
        each(p, [&](int64_t first, int images) {
            set_images(p, operands, first, images);
            start(p, geo.groups, plan.tile, workspace, stream);
        });
    } else if (problem.direction == Direction::kWgrad) {
        auto p = wgrad_of<T>(problem, plan.product, operands);
        each(p, [&](int64_t first, int images) {
            set_images(p, operands, first, images);
            start(p, geo.groups, plan.tile, workspace, stream);
        });
    } else {
        auto p = dgrad_of<T>(problem, plan.product, *plan.phases, operands, activation);
        each(p, [&](int64_t first, int images) {
            set_images(p, *plan.phases, operands, first, images);
            each_phases(p, *plan.phases, static_cast<size_t>(plan.phases_at_once), [&] {
                const int64_t items = geo.groups * p.phases[0] * p.phases[1] * p.phases[2];
                start(p, items, plan.tile, workspace, stream);
            });
        });
    }
}

}  // namespace

void launch_tiled(const Problem& problem, const TiledPlan& plan, const Operands& operands, Activation activation,
                  const tile::Marks& wanted, const Workspace& workspace, Stream stream) {
    dispatch_float(problem.dtype, [&](auto type) {
        start_all<TypeOf<decltype(type)>>(problem, plan, operands, activation, wanted, workspace, stream);
    });
}

}  // namespace convgpu::conv
