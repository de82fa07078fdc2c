// Matrix product on Hopper's tensor cores: y[i] = activation(alpha * a[i] * b[i] + beta * c), i over a batch.
//
// A block owns tiles of 128 x kTileN of the y[i], or of parts of their sums, one after the other. Its first warpgroup
// loads; the other two own 64 rows each, a warp of theirs 16, a thread the sums that wgmma leaves it. With a cluster of
// 2, blocks share what they load of b. Layouts: those of gemm_tiled.cuh, all without a copy. Assumes lines and items
// that start at multiples of 16 bytes. Order of summation: k in ascending order, in the hardware's blocks of 16; parts
// by sum_splits.
#pragma once
#include "../hopper/launch.h"
#include "gemm_tiled.cuh"

namespace convgpu::gemm {

template <class T, int kTileN, int kCluster, bool kTransA, bool kTransB>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    gemm_wgmma(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
               const __grid_constant__ Problem<T, kTransA, kTransB> p, const __grid_constant__ tile::Schedule schedule,
               const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const hopper::MatrixPanels<T, !kTransA> a{&map_a, p.left.item_stride == 0};
        const hopper::MatrixPanels<T, kTransB> b{&map_b, p.right.item_stride == 0};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, schedule, partial);
    } else {
        __trap();
    }
}

}  // namespace convgpu::gemm
