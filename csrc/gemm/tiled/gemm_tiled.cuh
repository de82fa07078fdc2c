// Matrix product by tiles: y[i] = activation(alpha * a[i] @ b[i] + beta * c), for each item i of a stack.
//
// A block owns one tile of kTile x kTile elements of one y[i], or of one part of its sums; tile/simt.h and
// tile/tensor_core.h say what a thread owns of the tile, and give the order of summation. Layouts: a[m][k] or a[k][m],
// b[k][n] or b[n][k], y[m][n], each with a distance between its lines. Assumes that the lines of a (b) begin at
// multiples of VA (VB) elements, and that their length is a multiple of VA (VB); VA = VB = 1 assumes nothing.
#pragma once
#include "../../tile/launch_tiles.h"
#include "../problem.h"

namespace convgpu::gemm {

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB, bool kTransA,
          bool kTransB>
__global__ void __launch_bounds__(tile::kThreads)
    gemm_tiled(const __grid_constant__ Problem<T, kTransA, kTransB> p, const __grid_constant__ tile::Schedule schedule,
               const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    tile::compute_tile<Engine, kTile, kTile, VA, VB>(p, partial, schedule, schedule.work());
}

}  // namespace convgpu::gemm
