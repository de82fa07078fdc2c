// Average pooling over large windows: the threads of a block share each window.
//
// A block owns lanes.x vectors of V neighbouring channels of lanes.z output pixels. A thread owns every lanes.y-th tap
// of one of these, and the block's threads then add their sums in shared memory, two by two. Layouts: x[n][d][h][w][c],
// y[n][o][p][q][c]. Assumes that V divides the channels, alignment to a vector (16 bytes at most), and that the block
// has kThreads threads, whose numbers along each axis are powers of two. Order: a thread adds its taps in row-major
// order, in blocks of 64; the threads' sums are added as a tree, the upper half to the lower. Padding is skipped. Half
// types are summed in float32.
#pragma once
#include "average.h"
#include "split.h"

namespace convgpu::pool {

template <class A, int V>
struct AvgPoolSplitMemory {
    A sum[V][kThreads];
};

template <class T, int V>
__global__ void __launch_bounds__(kThreads, kResident)
    avg_pool_split(const T* __restrict__ x, T* __restrict__ y, const __grid_constant__ Problem problem,
                   const __grid_constant__ SplitWindows windows) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<AvgPoolSplitMemory<A, V>>();
    const int me = windows.thread();
    for (uint64_t tile = blockIdx.x; tile < windows.tiles(); tile += gridDim.x) {
        Position out;
        const bool owns = windows.find(tile, V, out);
        BlockedSum<A, V> mine;
        if (owns) windows.each_tap(problem, out, [&](int64_t at, int) { mine.add(load<V>(x + at)); });
#pragma unroll
        for (int v = 0; v < V; ++v) shared.sum[v][me] = mine[v];
        __syncthreads();
        for (int half = windows.lanes().y / 2; half > 0; half /= 2) {
            if (windows.tap_lane() < half) {
#pragma unroll
                for (int v = 0; v < V; ++v) shared.sum[v][me] += shared.sum[v][me + half * windows.lanes().x];
            }
            __syncthreads();
        }
        if (owns && windows.tap_lane() == 0) {
            store(y + problem.y_at(out), average<T, V>(divisor_of(problem, out.at[0], out.at[1], out.at[2]),
                                                       [&](int v) { return shared.sum[v][me]; }));
        }
    }
}

template <class T, int V>
void launch_avg_pool_split(const T* x, T* y, const Problem& problem, Lanes lanes, Stream stream) {
    const SplitWindows windows(problem, lanes, V);
    launch(avg_pool_split<T, V>, windows.shape(sizeof(AvgPoolSplitMemory<Accumulator<T>, V>)), stream, x, y, problem,
           windows);
}

}  // namespace convgpu::pool
