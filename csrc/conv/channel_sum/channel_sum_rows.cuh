// A bias gradient in channels_last: it sums over the pixels of the images, and each block takes one part of the
// pixels.
//
// A block owns blockDim.x vectors of channels of one part of the pixels. A thread owns V neighbouring channels of every
// blockDim.y-th pixel of that part. Layouts: gy[pixel][channel], and the result or its parts [part][channel]. Assumes
// that V divides the channels, and alignment to a vector of V elements. Order of summation: a thread adds its pixels in
// rising order, in blocks of 64. The sums of a block's threads are added in rising order, in groups of 16, and the
// parts as finish.h says. Half types are summed in float32.
#pragma once
#include "../../common/accumulate.h"
#include "../../common/vector.h"
#include "finish.h"

namespace convgpu::conv {

constexpr int kRowsThreads = 128;

template <class A, int V>
struct ChannelSumRowsMemory {
    A sums[kRowsThreads * V];
};

// Block b adds part b % parts of the pixels, for the group of channels with the number b / parts.
template <class T, int V>
__global__ void __launch_bounds__(kRowsThreads)
    channel_sum_rows(const T* __restrict__ gy, const __grid_constant__ PartOfResult<T> result, uint32_t* counters,
                     int64_t pixels, int channels, int parts) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<ChannelSumRowsMemory<A, V>>();
    const auto part = static_cast<int>(blockIdx.x % parts), block = static_cast<int>(blockIdx.x / parts);
    const int width = static_cast<int>(blockDim.x) * V, lanes = static_cast<int>(blockDim.y);
    const int first = block * width, channel = first + static_cast<int>(threadIdx.x) * V;
    const int64_t end = pixels * (part + 1) / parts;
    BlockedSum<A, V> sum;
    if (channel < channels) {
#pragma unroll 8
        for (int64_t i = pixels * part / parts + threadIdx.y; i < end; i += lanes) {
            sum.add(load<V>(gy + (i * channels + channel)));
        }
    }
    const int me = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
#pragma unroll
    for (int v = 0; v < V; ++v) shared.sums[me * V + v] = sum[v];
    __syncthreads();
    for (int i = me; i < width && first + i < channels; i += kRowsThreads) {
        result.put(int64_t(part) * channels + first + i, sum_in_groups(shared.sums + i, lanes, width));
    }
    if (parts == 1) return;
    finish(result, counters + block * counters_of(parts), part, parts, first, min(first + width, channels), channels,
           me, kRowsThreads);
}

template <class T, int V>
void launch_channel_sum_rows(const T* gy, const PartOfResult<T>& result, uint32_t* counters, int64_t pixels,
                             int channels, int parts, int lanes, Stream stream) {
    const int width = lanes * V;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(parts * ((channels + width - 1) / width)));
    shape.block = dim3(lanes, kRowsThreads / lanes);
    shape.shared_bytes = sizeof(ChannelSumRowsMemory<Accumulator<T>, V>);
    launch(channel_sum_rows<T, V>, shape, stream, gy, result, counters, pixels, channels, parts);
}

}  // namespace convgpu::conv
