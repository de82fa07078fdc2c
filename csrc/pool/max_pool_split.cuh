// Max pooling over large windows: the threads of a block share each window.
//
// A block owns lanes.x vectors of V neighbouring channels of lanes.z output pixels. A thread owns every lanes.y-th tap
// of one of these, and the block's threads then compare their maxima in shared memory, two by two. Layouts:
// x[n][d][h][w][c], y[n][o][p][q][c], and offsets like y. Assumes that V divides the channels, alignment to a vector
// (16 bytes at most), and that the block has kThreads threads, whose numbers along each axis are powers of two. Order:
// none is needed. Of equal values, and of NaNs, the lowest offset wins. Padding is skipped.
#pragma once
#include "largest.h"
#include "split.h"

namespace convgpu::pool {

template <class A, int V>
struct MaxPoolSplitMemory {
    A value[V][kThreads];
    int offset[V][kThreads];
};

template <class T, class Offset, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    max_pool_split(const T* __restrict__ x, T* __restrict__ y, Offset* __restrict__ offsets,
                   const __grid_constant__ Problem problem, const __grid_constant__ SplitWindows windows) {
    auto& shared = dyn_smem<MaxPoolSplitMemory<Accumulator<T>, V>>();
    const int me = windows.thread();
    for (uint64_t tile = blockIdx.x; tile < windows.tiles(); tile += gridDim.x) {
        Position out;
        const bool owns = windows.find(tile, V, out);
        Largest<T, V> largest(INT32_MAX);  // any tap is below this offset
        if (owns) {
            windows.each_tap(problem, out, [&](int64_t at, int offset) {
                const auto pixel = load<V>(x + at);
#pragma unroll
                for (int v = 0; v < V; ++v) largest.meet_unordered(v, static_cast<Accumulator<T>>(pixel.at[v]), offset);
            });
        }
        for (int half = windows.lanes().y / 2; half > 0; half /= 2) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                shared.value[v][me] = largest.value(v);
                shared.offset[v][me] = largest.offset(v);
            }
            __syncthreads();
            if (windows.tap_lane() < half) {
                const int other = me + half * windows.lanes().x;
#pragma unroll
                for (int v = 0; v < V; ++v) largest.meet_unordered(v, shared.value[v][other], shared.offset[v][other]);
            }
            __syncthreads();
        }
        if (!owns || windows.tap_lane() != 0) continue;
        const int64_t at = problem.y_at(out);
        store(y + at, largest.values());
        if (offsets) store(offsets + at, largest.template offsets<Offset>());
    }
}

template <class T, class Offset, int V>
void launch_max_pool_split(const T* x, T* y, Offset* offsets, const Problem& problem, Lanes lanes, Stream stream) {
    const SplitWindows windows(problem, lanes, V);
    launch(max_pool_split<T, Offset, V>, windows.shape(sizeof(MaxPoolSplitMemory<Accumulator<T>, V>)), stream, x, y,
           offsets, problem, windows);
}

}  // namespace convgpu::pool
