// Leads from a plan for Hopper to a launch. The tile and the cluster of the plan become template arguments, and the
// grid has as many clusters as fit on the GPU at once.
#pragma once
#include <algorithm>
#include <type_traits>

#include "../common/workspace.h"
#include "../tile/sum_splits.cuh"
#include "plan.h"
#include "product.h"

namespace convgpu::hopper {

// Calls use(columns, blocks) with the columns of the plan's tile and the blocks of its cluster, each as a
// std::integral_constant. T is the type of the factors.
template <class T, class Use>
void dispatch_tile(const Plan& plan, Use use) {
    const std::integral_constant<int, 1> one;
    const std::integral_constant<int, 2> two;
    const auto with_cluster = [&](auto tile_n) { plan.cluster == 2 ? use(tile_n, two) : use(tile_n, one); };
    if (plan.tile_n == 64) return use(std::integral_constant<int, 64>(), one);
    if (plan.tile_n == 128) return with_cluster(std::integral_constant<int, 128>());
    if constexpr (kParts<T> == 1) with_cluster(std::integral_constant<int, 256>());
}

// Runs kernel(maps of a, maps of b, problem, arguments..., map of results, schedule, partial), and then adds the parts
// of sums that the plan splits. problem(item) tells where the sums of an item go. `results` is the map by which TMA
// writes results. kMends has the meaning that it has for sum_splits.
template <class T, int kTileN, int kCluster, bool kMends, class Kernel, class Problem, class... Arguments>
void launch_tiles(Kernel kernel, const Size& size, const Plan& plan, const Device& device, const Workspace& workspace,
                  Stream stream, const Maps<T>& a, const Maps<T>& b, const ResultMap& results, const Problem& problem,
                  const Arguments&... arguments) {
    const int splits = plan.splits, clusters_at_once = device.multiprocessors / kCluster;
    const auto M = static_cast<int>(size.M), N = static_cast<int>(size.N), K = static_cast<int>(size.K);
    const auto items = static_cast<int>(size.items);
    const Schedule schedule(M, N, K, items, kTileM * kCluster, kTileN, splits, kDepth);
    const tile::Partial<float> partial{static_cast<float*>(workspace.data), M, N, splits, {}};
    const ResultLayout parts{partial.line(), M, 1, size.items * splits, partial.line(), 0, M * partial.line()};
    const auto clusters = std::min<uint64_t>(schedule.parts(), clusters_at_once);
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(clusters) * kCluster);
    shape.block = dim3(kThreads);
    shape.cluster = dim3(kCluster);
    shape.shared_bytes = sizeof(Memory<T, kTileN>);
    launch(kernel, shape, stream, a, b, problem, arguments..., splits > 1 ? map_of(partial.data, parts, M) : results,
           schedule, partial);
    if (splits > 1) tile::launch_sum_splits<Value<T>, kMends && !kScaled<T>>(partial, problem, items, stream);
}

}  // namespace convgpu::hopper
