// Matrix product by tiles: y[i] = activation(alpha * a[i] * b[i] + beta * c), i over a batch.
//
// A block owns one tile of kTile x kTile elements of one y[i], or of one part of its sums; what a thread owns of it,
// and the order of summation, stand in tile/simt.h and tile/tensor_core.h. Layouts: a[m][k] or a[k][m], b[k][n] or
// b[n][k], y[m][n], each with a distance between its lines. Assumes that lines start at multiples of VA and VB
// elements, which divide their lengths; V = 1 assumes nothing.
#pragma once
#include "../tile/product.h"
#include "../tile/sum_splits.cuh"

namespace convgpu::gemm {

// One operand or result of a batch: data + item * item_stride, lines `stride` elements apart.
template <class T>
struct Matrices {
    T* data;
    int64_t stride, item_stride;

    __device__ __forceinline__ T* item(int i) const { return data + i * item_stride; }
};

template <class T>
struct Problem {
    Matrices<const T> a, b;
    Matrices<T> y;
    int M, N, K;
    tile::Epilogue<T> epilogue;
    bool vectors;  // of y

    // The result of one item of the batch.
    __device__ __forceinline__ tile::Result<T, tile::EvenRows> operator()(int item) const {
        return {y.item(item), {y.stride}, M, N, epilogue, vectors};
    }
};

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB, bool kTransA,
          bool kTransB>
__global__ void __launch_bounds__(tile::kThreads)
    gemm_tiled(const __grid_constant__ Problem<T> p, const __grid_constant__ tile::Schedule schedule,
               const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    const tile::Work work = schedule.work();
    const tile::MatrixSource<T, !kTransA> a{p.a.item(work.item), p.a.stride, p.M, p.K};
    const tile::MatrixSource<T, kTransB> b{p.b.item(work.item), p.b.stride, p.N, p.K};
    tile::compute_tile<Engine, kTile, kTile, VA, VB>(a, b, p(work.item), partial, schedule, work);
}

template <template <class, class, int, int> class Engine, class T, int kTile, int VA, int VB, bool kTransA,
          bool kTransB>
void launch_gemm_tiled(const Problem<T>& p, int items, int splits, const Workspace& workspace, Stream stream) {
    using A = tile::MatrixSource<T, !kTransA>;
    using B = tile::MatrixSource<T, kTransB>;
    const tile::Schedule schedule(p.M, p.N, p.K, items, kTile, kTile, splits, tile::kDepth<T>);
    const tile::Partial<Accumulator<T>> partial{static_cast<Accumulator<T>*>(workspace.data), p.M, p.N, splits};
    launch(gemm_tiled<Engine, T, kTile, VA, VB, kTransA, kTransB>,
           schedule.shape(sizeof(tile::Memory<Engine<A, B, kTile, kTile>, kTile, kTile>)), stream, p, schedule,
           partial);
    if (splits > 1) tile::launch_sum_splits<T>(partial, p, items, stream);
}

}  // namespace convgpu::gemm
