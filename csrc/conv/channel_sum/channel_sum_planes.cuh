// A bias gradient in channels_first: it sums over the pixels of the images, and each block takes one part of the
// pixels.
//
// A block owns one part of the pixels of one channel. A thread owns every kPlaneThreads-th vector of V neighbouring
// pixels of that part. Layouts: gy[n][channel][pixel], and the result or its parts [part][channel]. Assumes that V
// divides the pixels of an image, and alignment to a vector of V elements. Order of summation: a thread adds its pixels
// in rising order, as V sums side by side, in blocks of 64; then it adds these V sums. The sums of the threads are
// added in rising order, in groups of 16, and the parts as finish.h says. Half types are summed in float32.
#pragma once
#include "../../common/accumulate.h"
#include "../../common/divisor.h"
#include "../../common/vector.h"
#include "finish.h"

namespace convgpu::conv {

constexpr int kPlaneThreads = 128;

template <class A>
struct ChannelSumPlanesMemory {
    A sums[kPlaneThreads];
};

// Block b adds part b % parts of channel b / parts. That channel has `vectors` vectors of pixels.
template <class T, int V>
__global__ void __launch_bounds__(kPlaneThreads)
    channel_sum_planes(const T* __restrict__ gy, const __grid_constant__ PartOfResult<T> result, uint32_t* counters,
                       int64_t pixels, int channels, int parts, int64_t vectors,
                       const __grid_constant__ Divisor by_image) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<ChannelSumPlanesMemory<A>>();
    const auto part = static_cast<int>(blockIdx.x % parts), channel = static_cast<int>(blockIdx.x / parts);
    const int64_t end = vectors * (part + 1) / parts;
    BlockedSum<A, V> sum;
#pragma unroll 4
    for (int64_t i = vectors * part / parts + threadIdx.x; i < end; i += kPlaneThreads) {
        auto n = static_cast<uint64_t>(i);
        const auto pixel = static_cast<int64_t>(by_image.split(n)) * V;
        sum.add(load<V>(gy + ((static_cast<int64_t>(n) * channels + channel) * pixels + pixel)));
    }
    A mine = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) mine += sum[v];
    shared.sums[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        result.put(int64_t(part) * channels + channel, sum_in_groups(shared.sums, kPlaneThreads, 1));
    }
    if (parts == 1) return;
    finish(result, counters + channel * counters_of(parts), part, parts, channel, channel + 1, channels,
           static_cast<int>(threadIdx.x), kPlaneThreads);
}

template <class T, int V>
void launch_channel_sum_planes(const T* gy, const PartOfResult<T>& result, uint32_t* counters, int64_t images,
                               int64_t pixels, int channels, int parts, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(int64_t(parts) * channels));
    shape.block = dim3(kPlaneThreads);
    shape.shared_bytes = sizeof(ChannelSumPlanesMemory<Accumulator<T>>);
    launch(channel_sum_planes<T, V>, shape, stream, gy, result, counters, pixels, channels, parts,
           images * (pixels / V), Divisor(pixels / V));
}

}  // namespace convgpu::conv
