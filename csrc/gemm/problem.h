// A matrix product as every engine sees it: where its factors lie, and where its sums go.
#pragma once
#include "../tile/output.h"

namespace convgpu::gemm {

// A stack of matrices. That of item i begins at data + i * item_stride, and its lines are `stride` elements apart.
template <class T>
struct Matrices {
    T* data;
    int64_t stride, item_stride;

    __device__ __forceinline__ T* item(int i) const { return data + i * item_stride; }
};

// The product y[i] = activation(alpha * left[i] @ right[i] + beta * c), where kTransA (kTransB) tells that left (right)
// lies transposed in memory. p.a(item) and p.b(item) are the sources of its factors (tile/operand.h), and p(item) is
// its result.
template <class T, bool kTransA, bool kTransB>
struct Problem {
    using A = tile::MatrixSource<T, !kTransA>;
    using B = tile::MatrixSource<T, kTransB>;

    Matrices<const T> left, right;
    Matrices<T> y;
    int M, N, K;
    tile::Epilogue<T> epilogue;
    bool vectors;          // whether the lines of y begin and end at multiples of 16 bytes
    tile::Marks wanted{};  // the tiles that are computed; without marks, all tiles are

    __device__ __forceinline__ A a(int item) const { return {left.item(item), left.stride, M, K}; }
    __device__ __forceinline__ B b(int item) const { return {right.item(item), right.stride, N, K}; }
    __device__ __forceinline__ tile::Result<T, tile::EvenRows> operator()(int item) const {
        return {y.item(item), {y.stride}, M, N, epilogue, vectors};
    }
};

}  // namespace convgpu::gemm
