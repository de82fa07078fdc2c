// Random numbers of one distribution (draw.h) in every element, in one pass: y[i] follows from the words behind the
// state.
//
// A thread owns a group of neighbouring elements: a vector of V, or those of one block of words where that gives more.
// Which words make element i does not depend on V. The first thread of the grid also writes the next state. Layouts:
// y[i]. Assumes alignment to a vector of V elements. Order: nothing is added.
#pragma once
#include "../common/vector.h"
#include "draw.h"

namespace convgpu::random {

constexpr int kThreads = 256;

template <class T, int V, class Draw>
__global__ void __launch_bounds__(kThreads)
    draw_vectors(T* __restrict__ y, int64_t size, const __grid_constant__ StateAt at,
                 const __grid_constant__ Draw draw) {
    constexpr int kBlocks = V > Draw::kEach ? V / Draw::kEach : 1, kSize = kBlocks * Draw::kEach;
    const State state = at.load();
    const int64_t group = int64_t(blockIdx.x) * kThreads + threadIdx.x, begin = group * kSize;
    if (group == 0) at.advance(state);
    if (begin >= size) return;
    T values[kSize];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
        draw(philox(state, static_cast<uint64_t>(group) * kBlocks + block), values + block * Draw::kEach);
    }
    if (V > 1 && begin + kSize <= size) {
#pragma unroll
        for (int p = 0; p < kSize; p += V) {
            Vector<T, V> vector;
#pragma unroll
            for (int v = 0; v < V; ++v) vector.at[v] = values[p + v];
            store(y + begin + p, vector);
        }
        return;
    }
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
        if (begin + e < size) y[begin + e] = values[e];
    }
}

template <class T, int V, class Draw>
void launch_draw_vectors(T* y, int64_t size, const StateAt& at, const Draw& draw, Stream stream) {
    const int64_t per_block = int64_t(kThreads) * (V > Draw::kEach ? V : Draw::kEach);
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(size > 0 ? (size + per_block - 1) / per_block : 1));
    shape.block = dim3(kThreads);
    launch(draw_vectors<T, V, Draw>, shape, stream, y, size, at, draw);
}

}  // namespace convgpu::random
