#include "plan.h"

#include <algorithm>
#include <limits>

#include "../tile/output.h"
#include "ring.h"

namespace convgpu::hopper {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t bytes_of_a_split(int64_t M, int64_t N, int64_t items) {
    constexpr int64_t V = tile::kPartialVector;
    return items * M * ceil_div(N, V) * V * static_cast<int64_t>(sizeof(float));
}

// An estimate takes the clocks of the unit that is busiest; docs/performance.md gives the sources of these figures. In
// one clock, the tensor cores of a multiprocessor do 2048 multiply-adds, and its shared memory moves 128 bytes. The L2
// cache gives each multiprocessor 32 bytes if all of them read, and at most 64 bytes. The memory moves 2700 bytes for
// all multiprocessors together.
constexpr double kMultiplyAdds = 2048, kShared = 128, kShare = 32, kPort = 64, kMemory = 2700;
constexpr double kLaunch = 1000, kKernelAfterKernel = 5000;

int stages_of(const Plan& plan) { return hopper::stages_of(plan.tile_n, parts_of(plan.factors)); }

double clocks(const Size& s, const Plan& plan, const Device& device) {
    const int parts = parts_of(s.factors), products = parts == 1 ? 1 : 3;
    const int64_t rows = int64_t(kTileM) * plan.cluster, units = device.multiprocessors / plan.cluster;
    const int64_t works = ceil_div(s.M, rows) * ceil_div(s.N, plan.tile_n) * s.items * plan.splits;
    const int64_t waves = ceil_div(works, units), busy = std::min(works, units) * plan.cluster;
    const double loaded = 2.0 * parts * kDepth * (kTileM + plan.tile_n / plan.cluster);
    const double bandwidth = std::min(kPort, kShare * device.multiprocessors / static_cast<double>(busy));
    // For each product, each warpgroup reads its own rows and all columns of the tile. TMA writes both once.
    const double read = 2.0 * products * kDepth * (kTileM + kConsumers * plan.tile_n);
    const double written = 2.0 * parts * kDepth * (kTileM + plan.tile_n);
    const double step = std::max(
        {products * kTileM * plan.tile_n * kDepth / kMultiplyAdds, loaded / bandwidth, (read + written) / kShared});
    const auto steps = static_cast<double>(ceil_div(ceil_div(s.K, kDepth), plan.splits));
    // When one warpgroup is behind the other, it has the tensor cores to itself while the results of the other are
    // written.
    const double way_out = (s.factors == Factors::kHalf ? 7.0 : 30.0) * plan.tile_n;
    const int lead = lead_of(stages_of(plan));
    const double behind = steps > lead ? lead * step / 2 : 0;  // follow() in product.h explains this
    const double between = 300 + std::max(way_out - behind, 0.0);
    const double second =
        plan.splits == 1 ? 0 : kKernelAfterKernel + 2.0 * static_cast<double>(plan.workspace) / kMemory;
    return kLaunch + static_cast<double>(waves) * (steps * step + between) + second;
}

// Scaling takes this time beside the products: a kernel clears ranges and marks, and two kernels pass over the factors.
double clocks_of_scaling(const ScaledFactors& scaled) {
    const double bytes_of_element = 4 + 4 + 2 * parts_of(scaled.factors());  // two reads and one write
    return 3 * kKernelAfterKernel + bytes_of_element * static_cast<double>(scaled.elements()) / kMemory;
}

// The tiled kernel is assumed to reach 85% of the fused multiply-adds for float32, and for TF32, by mma.sync, 40% of
// what the tensor cores could do.
double clocks_of_tiled(const Size& s, const Device& device) {
    const double rate = s.factors == Factors::kPairs ? 128 * 0.85 : 1024 * 0.4;
    const auto tiles = static_cast<double>(ceil_div(s.M, 64) * ceil_div(s.N, 64) * s.items);
    const double filled = std::min(1.0, tiles * std::max(1.0, static_cast<double>(s.K) / 256) / device.multiprocessors);
    return kLaunch + tiles * 64 * 64 * static_cast<double>(s.K) / (rate * device.multiprocessors * filled);
}

const char* refusal_of_device(const Device& device) {
    if (device.arch != 90) return "not_sm_90a";
    if (!kCompiledForHopper) return "not_compiled_for_sm_90a";
    return nullptr;
}

}  // namespace

const char* refusal(int64_t K, DType dtype, bool aligned, const Device& device) {
    if (const char* refusal = refusal_of_device(device)) return refusal;
    if (dtype != DType::kFloat16 && dtype != DType::kBFloat16) return "no_half_type";
    if (K == 0) return "no_sums";
    if (!aligned) return "lines_not_at_multiples_of_16_bytes";
    return nullptr;
}

const char* refusal_of_scaled(const std::vector<Launch>& launches, const ScaledFactors& scaled, DType dtype,
                              const Device& device, size_t workspace_limit) {
    constexpr int64_t kLeastTerms = 32;  // with fewer terms, a chain of float32 can be more than twice as accurate
    constexpr uint64_t kMostElements = std::numeric_limits<uint32_t>::max();  // of a range, whose counter has 32 bits
    if (const char* refusal = refusal_of_device(device)) return refusal;
    if (dtype != DType::kFloat32) return "no_float32";
    if (scaled.elements_of_range() > kMostElements) return "ranges_that_32_bits_do_not_count";
    const size_t rest = workspace_limit - std::min(workspace_limit, scaled.bytes());
    double clocks = clocks_of_scaling(scaled), tiled = 0;
    for (const Launch& launch : launches) {
        if (launch.tiled.K < kLeastTerms) return "sums_of_fewer_than_32_terms";
        // The tiled kernel follows, but its blocks leave at once where no tile is marked.
        clocks += plan_product(launch.size, device, rest).clocks + kKernelAfterKernel;
        tiled += clocks_of_tiled(launch.tiled, device);
    }
    if (clocks >= tiled) return "too_little_to_multiply";
    return scaled.bytes() > workspace_limit ? "scaled_factors_beyond_the_workspace" : nullptr;
}

std::string text_of(Factors factors) {
    if (factors == Factors::kHalf) return "";
    return std::string(" factors=scaled_float16") + (factors == Factors::kPairs ? "_pairs" : "");
}

Plan plan_product(const Size& size, const Device& device, size_t workspace_limit) {
    constexpr int64_t kLeastSteps = 4, kMostSplits = 64;  // with fewer steps, a split does not fill the ring
    const int64_t steps = ceil_div(size.K, kDepth), bytes = bytes_of_a_split(size.M, size.N, size.items);
    const int64_t affordable = static_cast<int64_t>(workspace_limit) / std::max<int64_t>(bytes, 1);
    const int64_t most = std::max<int64_t>(std::min({steps / kLeastSteps, kMostSplits, affordable}), 1);
    Plan best;
    for (const auto& [tile_n, cluster] : {std::pair(256, 2), {256, 1}, {128, 2}, {128, 1}, {64, 1}}) {
        if (cluster > device.multiprocessors || (tile_n == 256 && size.factors == Factors::kPairs)) continue;
        for (int64_t wanted = 1; wanted <= most; ++wanted) {
            const int64_t splits = ceil_div(steps, ceil_div(steps, wanted));  // so that no split is empty
            Plan plan{size.factors, tile_n, cluster, static_cast<int>(splits),
                      static_cast<size_t>(splits > 1 ? splits * bytes : 0)};
            plan.clocks = clocks(size, plan, device);
            if (best.clocks == 0 || plan.clocks < best.clocks) best = plan;
        }
    }
    return best;
}

std::string Plan::text(const std::string& kernel) const {
    return kernel + " tile=" + std::to_string(kTileM) + "x" + std::to_string(tile_n) +
           " stages=" + std::to_string(stages_of(*this)) + " cluster=" + std::to_string(cluster) +
           " splits=" + std::to_string(splits);
}

}  // namespace convgpu::hopper
