// Matrix product on Hopper's tensor cores: y[i] = activation(alpha * a[i] * b[i] + beta * c), i over a batch.
//
// A block owns tiles of 128 x kTileN of the y[i], or of parts of their sums, one after the other. Its first warpgroup
// loads; the other two own 64 rows each, a warp of theirs 16, a thread the sums that wgmma leaves it. With a cluster of
// 2, blocks share what they load of b. Layouts: those of gemm_tiled.cuh, all without a copy. Assumes lines and items
// that start at multiples of 16 bytes. Order of summation: k in ascending order, in the hardware's blocks of 16; parts
// by sum_splits.
#pragma once
#include "../hopper/plan.h"
#include "../hopper/product.h"
#include "../tile/sum_splits.cuh"
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

template <class T, int kTileN, int kCluster, bool kTransA, bool kTransB>
void launch_gemm_wgmma(const Problem<T, kTransA, kTransB>& p, int items, int splits, int multiprocessors,
                       const Workspace& workspace, Stream stream) {
    const tile::Schedule schedule(p.M, p.N, p.K, items, hopper::kTileM * kCluster, kTileN, splits, hopper::kDepth);
    const tile::Partial<float> partial{static_cast<float*>(workspace.data), p.M, p.N, splits};
    const auto map = [items](const Matrices<const T>& m, int lines, int length) {
        return hopper::panels_of(m.data, items, lines, length, m.stride, m.item_stride);
    };
    const auto clusters = std::min<uint64_t>(schedule.parts(), multiprocessors / kCluster);
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(clusters) * kCluster);
    shape.block = dim3(hopper::kThreads);
    shape.cluster = dim3(kCluster);
    shape.shared_bytes = sizeof(hopper::Memory<T, kTileN>);
    launch(gemm_wgmma<T, kTileN, kCluster, kTransA, kTransB>, shape, stream,
           map(p.left, kTransA ? p.K : p.M, kTransA ? p.M : p.K),
           map(p.right, kTransB ? p.N : p.K, kTransB ? p.K : p.N), p, schedule, partial);
    if (splits > 1) tile::launch_sum_splits<T>(partial, p, items, stream);
}

}  // namespace convgpu::gemm
