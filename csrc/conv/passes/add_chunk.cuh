// Adds the weight gradients of two parts of a batch.
//
// A thread owns one element; a block owns kChunkThreads neighbouring elements. Layouts: all three arrays have the same
// order. Assumes nothing; `sum` may be `total`. Order of summation: the sum of the earlier images plus that of the
// later ones.
#pragma once
#include "../../common/accumulate.h"
#include "../../device/launch.h"

namespace convgpu::conv {

constexpr int kChunkThreads = 256;

template <class T>
__global__ void __launch_bounds__(kChunkThreads)
    add_chunk(const Accumulator<T>* total, const Accumulator<T>* chunk, T* sum, int64_t count) {
    const int64_t i = int64_t(blockIdx.x) * kChunkThreads + threadIdx.x;
    if (i < count) sum[i] = static_cast<T>(total[i] + chunk[i]);
}

template <class T>
void launch_add_chunk(const Accumulator<T>* total, const Accumulator<T>* chunk, T* sum, int64_t count, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((count + kChunkThreads - 1) / kChunkThreads));
    shape.block = dim3(kChunkThreads);
    launch(add_chunk<T>, shape, stream, total, chunk, sum, count);
}

}  // namespace convgpu::conv
