// Decides which block computes which tiles of a product.
#pragma once
#include <algorithm>

#include "../common/divisor.h"
#include "operand.h"

namespace convgpu::tile {

// The work of one block: the tile at (m, n) of product `item` of a batch. Its sums run over k_begin <= k < k_end, and
// are part `split` of the whole sums.
struct Work {
    int m, n, k_begin, k_end, item, split;
};

// Cuts `items` products, each of M x N sums over K terms, into tiles of tile_m x tile_n, and each sum into `splits`
// parts.
class Schedule {
public:
    Schedule(int M, int N, int K, int items, int tile_m, int tile_n, int splits, int depth)
        : M(M),
          N(N),
          K(K),
          items(items),
          splits(splits),
          tile_m_(tile_m),
          tile_n_(tile_n),
          tiles_m_((M + tile_m - 1) / tile_m),
          tiles_n_((N + tile_n - 1) / tile_n),
          split_length_((((K + splits - 1) / splits) + depth - 1) / depth * depth),
          by_all_(std::max<int64_t>(tiles(), 1)),
          by_tiles_(std::max<int64_t>(int64_t(tiles_m_) * tiles_n_, 1)),
          by_band_(std::max<int64_t>(int64_t(kBand) * tiles_n_, 1)) {}

    LaunchShape shape(size_t shared_bytes) const {
        LaunchShape shape;
        shape.grid = dim3(static_cast<unsigned>(tiles()), static_cast<unsigned>(splits));
        shape.block = dim3(kThreads);
        shape.shared_bytes = shared_bytes;
        return shape;
    }

    // Returns the work of the calling block, in a grid that has the shape of shape().
    __device__ __forceinline__ Work work() const { return work(blockIdx.x, static_cast<int>(blockIdx.y)); }

    // Returns how many pieces of work there are: all tiles, times the splits. Persistent grids walk over them.
    __device__ __host__ __forceinline__ uint64_t parts() const { return static_cast<uint64_t>(tiles()) * splits; }
    __device__ __forceinline__ Work part(uint64_t i) const {
        const uint64_t tile = by_all_.split(i);
        return work(tile, static_cast<int>(i));
    }

    int M, N, K, items, splits;

private:
    static constexpr int kBand = 8;

    __device__ __host__ __forceinline__ int64_t tiles() const { return int64_t(tiles_m_) * tiles_n_ * items; }

    // Neighbouring blocks walk down a band of kBand tile rows, and then down its next column. Together they read few
    // rows of a and few columns of b, which the L2 cache holds.
    __device__ __forceinline__ Work work(uint64_t rest, int split) const {
        auto tile = static_cast<uint64_t>(by_tiles_.split(rest));
        const int item = static_cast<int>(rest);
        const int in_band = static_cast<int>(by_band_.split(tile)), first = static_cast<int>(tile) * kBand;
        const int height = tiles_m_ - first < kBand ? tiles_m_ - first : kBand;
        const int begin = split * split_length_;
        const int end = K - begin < split_length_ ? K : begin + split_length_;
        return {(first + in_band % height) * tile_m_, in_band / height * tile_n_, begin, end, item, split};
    }

    int tile_m_, tile_n_, tiles_m_, tiles_n_, split_length_;
    Divisor by_all_, by_tiles_, by_band_;
};

}  // namespace convgpu::tile
