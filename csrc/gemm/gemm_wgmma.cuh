// Matrix product on Hopper's tensor cores: y[i] = activation(alpha * a[i] * b[i] + beta * c), i over a batch; of half
// types, or of float32 as scaled float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN of the y[i], or of parts of their sums, one after the other. Its first warpgroup
// loads; the other two own 64 rows each, a warp of theirs 16, a thread the sums that wgmma leaves it. With a cluster of
// 2, blocks share what they load of b. Layouts: those of gemm_tiled.cuh, all without a copy; of scaled factors the same
// without gaps. Assumes lines and items that start at multiples of 16 bytes. Order of summation: k in ascending order,
// in the hardware's blocks of 16; pairs as multiply_pairs says; parts by sum_splits.
#pragma once
#include "../hopper/launch.h"
#include "gemm_tiled.cuh"

namespace convgpu::gemm {

// Rows of y and the ranges of a, which are its rows.
struct MatrixRows {
    int M, of_item;
    __device__ __forceinline__ hopper::PlaceOfRow operator()(int item, int m) const {
        return {m < M ? m : -1, int64_t(item) * of_item + m};
    }
};

template <class T, bool kTransA, bool kTransB>
using OnHopper = hopper::OnHopper<T, Problem<hopper::Value<T>, kTransA, kTransB>, MatrixRows>;

template <class T, int kTileN, int kCluster, bool kTransA, bool kTransB>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    gemm_wgmma(const __grid_constant__ hopper::Maps<T> maps_a, const __grid_constant__ hopper::Maps<T> maps_b,
               const __grid_constant__ OnHopper<T, kTransA, kTransB> p, const __grid_constant__ hopper::ResultMap map,
               const __grid_constant__ tile::Schedule schedule, const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const hopper::MatrixPanels<T, !kTransA> a{maps_a, p.left.item_stride == 0};
        const hopper::MatrixPanels<T, kTransB> b{maps_b, p.right.item_stride == 0};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, map, schedule, partial);
    } else {
        __trap();
    }
}

}  // namespace convgpu::gemm
