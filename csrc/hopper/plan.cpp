#include "plan.h"

#include <algorithm>

#include "../tile/output.h"
#include "ring.h"

namespace convgpu::hopper {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t bytes_of_a_split(int64_t M, int64_t N, int64_t items) {
    constexpr int64_t V = tile::kPartialVector;
    return items * M * ceil_div(N, V) * V * static_cast<int64_t>(sizeof(float));
}

// The clocks of a plan, by the unit that is busiest: docs/performance.md gives the figures' sources. Per clock and
// multiprocessor, the tensor cores do 2048 multiply-adds, and the L2 cache gives 32 bytes to each if all read, at most
// 64 to one.
double clocks(int64_t M, int64_t N, int64_t K, int64_t items, const Plan& plan, const Device& device) {
    constexpr double kMultiplyAdds = 2048, kShare = 32, kPort = 64, kMemory = 2700;  // kMemory: bytes, for all
    constexpr double kStart = 1000, kSecondPass = 5000;
    const int64_t rows = int64_t(kTileM) * plan.cluster, units = device.multiprocessors / plan.cluster;
    const int64_t parts = ceil_div(M, rows) * ceil_div(N, plan.tile_n) * items * plan.splits;
    const int64_t waves = ceil_div(parts, units), busy = std::min(parts, units) * plan.cluster;
    const double loaded = 2.0 * kDepth * (kTileM + plan.tile_n / plan.cluster);
    const double bandwidth = std::min(kPort, kShare * device.multiprocessors / static_cast<double>(busy));
    const double step = std::max(kTileM * plan.tile_n * kDepth / kMultiplyAdds, loaded / bandwidth);
    const auto steps = static_cast<double>(ceil_div(ceil_div(K, kDepth), plan.splits));
    const double written = 300 + 4.0 * plan.tile_n;  // nothing is multiplied meanwhile
    const double second = plan.splits == 1 ? 0 : kSecondPass + 2.0 * static_cast<double>(plan.workspace) / kMemory;
    return kStart + static_cast<double>(waves) * (steps * step + written) + second;
}

}  // namespace

const char* refusal(int64_t K, DType dtype, bool aligned, const Device& device) {
    if (device.arch != 90) return "not_sm_90a";
    if (!kCompiledForHopper) return "not_compiled_for_sm_90a";
    if (dtype != DType::kFloat16 && dtype != DType::kBFloat16) return "no_half_type";
    if (K == 0) return "no_sums";
    if (!aligned) return "lines_not_at_multiples_of_16_bytes";
    return nullptr;
}

Plan plan_product(int64_t M, int64_t N, int64_t K, int64_t items, const Device& device, size_t workspace_limit) {
    constexpr int64_t kLeastSteps = 4, kMostSplits = 64;  // fewer steps of a split do not fill the ring
    const int64_t steps = ceil_div(K, kDepth), bytes = bytes_of_a_split(M, N, items);
    const int64_t affordable = static_cast<int64_t>(workspace_limit) / std::max<int64_t>(bytes, 1);
    const int64_t most = std::max<int64_t>(std::min({steps / kLeastSteps, kMostSplits, affordable}), 1);
    Plan best;
    double least = -1;
    for (const auto& [tile_n, cluster] : {std::pair(256, 2), {256, 1}, {128, 2}, {128, 1}, {64, 1}}) {
        if (cluster > device.multiprocessors) continue;
        for (int64_t wanted = 1; wanted <= most; ++wanted) {
            const int64_t splits = ceil_div(steps, ceil_div(steps, wanted));  // none of them empty
            const Plan plan{tile_n, cluster, static_cast<int>(splits),
                            static_cast<size_t>(splits > 1 ? splits * bytes : 0)};
            const double estimate = clocks(M, N, K, items, plan, device);
            if (least < 0 || estimate < least) {
                least = estimate;
                best = plan;
            }
        }
    }
    return best;
}

Plan plan_product(const Size& s, const Device& device, size_t workspace_limit) {
    return plan_product(s.M, s.N, s.K, s.items, device, workspace_limit);
}

std::string Plan::text(const std::string& kernel) const {
    const int stages = tile_n == 256 ? kStages<256> : tile_n == 128 ? kStages<128> : kStages<64>;
    return kernel + " tile=" + std::to_string(kTileM) + "x" + std::to_string(tile_n) +
           " stages=" + std::to_string(stages) + " cluster=" + std::to_string(cluster) +
           " splits=" + std::to_string(splits);
}

}  // namespace convgpu::hopper
