// Matrix product on Hopper's tensor cores: y[i] = activation(alpha * a[i] @ b[i] + beta * c), for each item i of a
// stack. The factors are half types, or float32 as scaled float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN elements of the y[i], or of parts of their sums, and computes one tile after the
// other. Its first warpgroup loads the factors. Each of the other two warpgroups owns 64 rows of a tile, each of its
// warps owns 16 of these, and a thread owns the sums that wgmma leaves in its registers. The two blocks of a cluster
// share what they load of b. Layouts: a[m][k] or a[k][m], b[k][n] or b[n][k], y[m][n], as for gemm_tiled; none of them
// needs a copy. Scaled factors have the same layouts, without gaps. Assumes that lines and items begin at multiples of
// 16 bytes. The order of summation is k in ascending order, in the hardware's blocks of 16. multiply_pairs
// (hopper/product.h) says how pairs are summed, and sum_splits adds the parts.
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
