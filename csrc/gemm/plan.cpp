#include "plan.h"

#include <algorithm>

#include "../common/vector.h"
#include "../hopper/launches.h"
#include "wgmma/scaled.h"

namespace convgpu::gemm {
namespace {

// Tells whether the lines of both factors begin and end at multiples of 16 bytes.
bool in_vectors(const Sizes& s, DType dtype, const Options& options, int alignment) {
    const auto V = static_cast<int64_t>(kVectorBytes / size_of(dtype));
    const int64_t of_a = options.trans_a ? s.M : s.K, of_b = options.trans_b ? s.K : s.N;
    return alignment >= kVectorBytes && of_a % V == 0 && of_b % V == 0;
}

// Plans the tiled kernel that follows a product of scaled factors. Its partial sums lie where the scaled factors were,
// which are no longer needed by then.
tile::Plan plan_again(const Plan& plan, tile::Vectors vectors, const hopper::ScaledFactors& scaled) {
    const Sizes& s = plan.sizes;
    const size_t room = plan.workspace - scaled.header_bytes();
    return tile::plan_product(s.M, s.N, s.K, s.items, plan.dtype, plan.options.precision, vectors, plan.device,
                              std::min(room, kWorkspaceLimit));
}

}  // namespace

Plan plan(const Sizes& sizes, DType dtype, const Options& options, int alignment, const Device& device,
          std::optional<size_t> limit) {
    const bool whole = in_vectors(sizes, dtype, options, alignment);
    const tile::Vectors vectors = whole ? tile::Vectors::kBoth : tile::Vectors::kNone;
    const size_t of_sums = limit.value_or(kWorkspaceLimit);
    Plan plan{sizes, dtype, options, device};
    plan.sizes.one_a |= sizes.items == 1;
    plan.sizes.one_b |= sizes.items == 1;
    const Sizes& s = plan.sizes;
    const hopper::Size size{s.M, s.N, s.K, s.items, hopper::factors_of(dtype, options.precision)};
    if (dtype == DType::kFloat32) {
        const hopper::ScaledFactors scaled = scaled_of(s, options);
        const size_t all = limit.value_or(kWorkspaceLimit + scaled.bytes());
        plan.no_wgmma = hopper::refusal_of_scaled({{size, size}}, scaled, dtype, device, all);
        if (!plan.no_wgmma) {
            plan.kernel = Kernel::kScaled;
            plan.wgmma = hopper::plan_product(size, device, all - scaled.bytes());
            plan.workspace = scaled.bytes() + plan.wgmma.workspace;
            plan.tiled = plan_again(plan, vectors, scaled);
            return plan;
        }
    } else {
        plan.no_wgmma = hopper::refusal(s.K, dtype, whole, device);
        if (!plan.no_wgmma) {
            plan.kernel = Kernel::kWgmma;
            plan.wgmma = hopper::plan_product(size, device, of_sums);
            plan.workspace = plan.wgmma.workspace;
            return plan;
        }
    }
    plan.tiled = tile::plan_product(s.M, s.N, s.K, s.items, dtype, options.precision, vectors, device, of_sums);
    plan.workspace = plan.tiled.workspace;
    return plan;
}

int64_t Plan::launches() const {
    if (sizes.items == 0 || sizes.M == 0 || sizes.N == 0) return 0;
    const int64_t of_tiled = tiled.splits > 1 ? 2 : 1;
    if (kernel == Kernel::kTiled) return of_tiled;
    if (kernel == Kernel::kWgmma) return hopper::launches_of(wgmma);
    return hopper::kLaunchesOfScaling + hopper::launches_of(wgmma) + of_tiled;
}

double Plan::clocks() const { return kernel == Kernel::kTiled ? 0 : wgmma.clocks; }

std::string Plan::text() const {
    const std::string of_workspace = " workspace=" + std::to_string(workspace);
    if (kernel == Kernel::kTiled) return tiled.text("gemm_tiled") + " no_wgmma=" + no_wgmma + of_workspace;
    return wgmma.text("gemm_wgmma") + hopper::text_of(wgmma.factors) + of_workspace;
}

}  // namespace convgpu::gemm
