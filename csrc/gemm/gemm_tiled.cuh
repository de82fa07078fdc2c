// Matrix product by tiles: y[i] = activation(alpha * a[i] * b[i] + beta * c), i over a batch.
//
// A block owns one tile of kTile x kTile elements of one y[i], or of one part of its sums; what a thread owns of it,
// and the order of summation, stand in tile/simt.h and tile/tensor_core.h. Layouts: a[m][k] or a[k][m], b[k][n] or
// b[n][k], y[m][n], each with a distance between its lines. Assumes that lines start at multiples of VA and VB
// elements, which divide their lengths; V = 1 assumes nothing.
#pragma once
#include "../tile/launch_tiles.h"

namespace convgpu::gemm {

// One operand or result of a batch: data + item * item_stride, lines `stride` elements apart.
template <class T>
struct Matrices {
    T* data;
    int64_t stride, item_stride;

    __device__ __forceinline__ T* item(int i) const { return data + i * item_stride; }
};

template <class T, bool kTransA, bool kTransB>
struct Problem {
    using A = tile::MatrixSource<T, !kTransA>;
    using B = tile::MatrixSource<T, kTransB>;

    Matrices<const T> left, right;
    Matrices<T> y;
    int M, N, K;
    tile::Epilogue<T> epilogue;
    bool vectors;  // of y
    tile::Marks wanted{};

    __device__ __forceinline__ A a(int item) const { return {left.item(item), left.stride, M, K}; }
    __device__ __forceinline__ B b(int item) const { return {right.item(item), right.stride, N, K}; }
    __device__ __forceinline__ tile::Result<T, tile::EvenRows> operator()(int item) const {
        return {y.item(item), {y.stride}, M, N, epilogue, vectors};
    }
};

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB, bool kTransA,
          bool kTransB>
__global__ void __launch_bounds__(tile::kThreads)
    gemm_tiled(const __grid_constant__ Problem<T, kTransA, kTransB> p, const __grid_constant__ tile::Schedule schedule,
               const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    tile::compute_tile<Engine, kTile, kTile, VA, VB>(p, partial, schedule, schedule.work());
}

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB, bool kTransA,
          bool kTransB>
void launch_gemm_tiled(const Problem<T, kTransA, kTransB>& p, int items, int splits, const Workspace& workspace,
                       Stream stream) {
    tile::launch_tiles<Engine, kTile>(gemm_tiled<Engine, T, kTile, VA, VB, kTransA, kTransB>, p, items, splits,
                                      workspace, stream);
}

}  // namespace convgpu::gemm
