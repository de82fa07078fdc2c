// Matrix product on Hopper's tensor cores: y[i] = activation(alpha * a[i] @ b[i] + beta * c), for each item i of a
// stack; of half types, or of float32 as scaled float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN of the y[i], or of parts of their sums, one after the other. Its first warpgroup
// loads; each of the other two owns 64 rows, each of their warps 16, and a thread owns the sums that wgmma leaves in its
// registers. The two blocks of a cluster share what they load of b. Layouts: those of gemm_tiled.cuh, none of which
// needs a copy; scaled factors lie the same way without gaps. Assumes lines and items that begin at multiples of 16
// bytes. Order of summation: k in ascending order, in the hardware's blocks of 16; multiply_pairs (hopper/product.h)
// says how pairs are summed, and sum_splits adds the parts.
#pragma once
#include "../../hopper/launch.h"
#include "wgmma.h"

namespace convgpu::gemm {

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
