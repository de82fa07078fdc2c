#include "plan.h"

#include <algorithm>

#include "output.h"

namespace convgpu::tile {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A large tile reads each factor half as often as a small one. It is chosen where there are enough large tiles for all
// multiprocessors, and where few of their elements lie beyond the edges of the result.
int tile_of(int64_t M, int64_t N, int64_t items, DType dtype, Vectors vectors, const Device& device) {
    constexpr int kLarge = 128, kSmall = 64;
    if (dtype == DType::kFloat64 || vectors != Vectors::kBoth) return kSmall;
    const int64_t padded = ceil_div(M, kLarge) * kLarge * ceil_div(N, kLarge) * kLarge;
    const int64_t padded_small = ceil_div(M, kSmall) * kSmall * ceil_div(N, kSmall) * kSmall;
    const int64_t tiles = padded / (kLarge * kLarge) * items;
    const bool wasteful = padded > padded_small + padded_small / 8;
    return !wasteful && tiles >= device.multiprocessors ? kLarge : kSmall;
}

}  // namespace

Plan plan_product(int64_t M, int64_t N, int64_t K, int64_t items, DType dtype, Precision precision, Vectors vectors,
                  const Device& device, size_t workspace_limit) {
    constexpr int64_t kLeastTerms = 256;  // the fewest terms of a split: with fewer, a second pass does not pay
    constexpr int64_t kMostSplits = 64;
    Plan plan;
    plan.tensor_core = size_of(dtype) == 2 || (dtype == DType::kFloat32 && precision == Precision::kTf32);
    plan.vectors = vectors;
    plan.tile = tile_of(M, N, items, dtype, vectors, device);
    const int64_t tiles = ceil_div(M, plan.tile) * ceil_div(N, plan.tile) * items;
    const int64_t sum_bytes = dtype == DType::kFloat64 ? 8 : 4;
    const int64_t bytes_of_a_split = items * M * ceil_div(N, kPartialVector) * kPartialVector * sum_bytes;
    const int64_t blocks = int64_t(2) * device.multiprocessors;  // two blocks fit on a multiprocessor
    if (tiles == 0 || tiles >= blocks / 2) return plan;
    const int64_t affordable = static_cast<int64_t>(workspace_limit) / std::max<int64_t>(bytes_of_a_split, 1);
    const int64_t splits = std::min({blocks / tiles, K / kLeastTerms, kMostSplits, affordable});
    if (splits < 2) return plan;
    plan.splits = static_cast<int>(splits);
    plan.workspace = static_cast<size_t>(splits * bytes_of_a_split);
    return plan;
}

std::string Plan::text(const std::string& kernel) const {
    const char* loads = vectors == Vectors::kBoth ? "both" : vectors == Vectors::kOnlyB ? "b" : "none";
    return kernel + " engine=" + (tensor_core ? "tensor_core" : "simt") + " tile=" + std::to_string(tile) +
           " vectors=" + loads + " splits=" + std::to_string(splits);
}

}  // namespace convgpu::tile
