// How the elements of arrays of one size are dealt out: a thread owns `Each` vectors of V neighbouring elements,
// kThreads vectors apart, so that the accesses of a warp are neighbours, and all vectors of a thread are on their way
// at once. The elements behind the last whole vector belong to one thread.
#pragma once
#include "../common/accumulate.h"
#include "../common/vector.h"

namespace convgpu::elementwise {

constexpr int kThreads = 256;

// The part of a thread: vectors first, first + kThreads, ... of `vectors` whole ones.
template <int V, int Each>
struct Part {
    int64_t first, vectors, size;

    __device__ __forceinline__ explicit Part(int64_t size)
        : first(int64_t(blockIdx.x) * (kThreads * Each) + threadIdx.x), vectors(size / V), size(size) {}

    __device__ __forceinline__ int64_t vector(int p) const { return first + p * kThreads; }
    __device__ __forceinline__ bool has(int p) const { return vector(p) < vectors; }

    // Calls use(i) for the elements behind the last whole vector, in the thread that owns them.
    template <class Use>
    __device__ __forceinline__ void rest(Use use) const {
        if (V == 1) return;
#pragma unroll
        for (int p = 0; p < Each; ++p) {
            if (vector(p) != vectors) continue;
            for (int64_t i = vectors * V; i < size; ++i) use(i);
        }
    }
};

template <int V, int Each>
LaunchShape shape_of(int64_t size) {
    const int64_t places = (size + V - 1) / V, per_block = kThreads * Each;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((places + per_block - 1) / per_block));
    shape.block = dim3(kThreads);
    return shape;
}

}  // namespace convgpu::elementwise
