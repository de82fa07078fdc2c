// The second pass of cross_entropy: the sum or the mean of all losses, and whether one of the labels is bad.
//
// One block owns everything; a thread owns every kThreads-th part. Layouts: sums[part], bad[part]; y and flag have one
// element. Assumes nothing.
// Order of summation: a thread adds its parts in rising order, in blocks of 64; the threads' sums are then added in
// rising order, in groups of 16.
#pragma once
#include "lines.h"

namespace convgpu::softmax {

// y is null where the losses stay apart.
template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_total(const Accumulator<T>* __restrict__ sums, const int32_t* __restrict__ bad, int64_t parts,
                        Accumulator<T> divisor, Accumulator<T>* __restrict__ y, int32_t* __restrict__ flag) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<LinesMemory<A>>();
    BlockedSum<A, 1> sum;
    int any = 0;
    for (int64_t i = threadIdx.x; i < parts; i += kThreads) {
        sum.add_each([&](int) { return sums[i]; });
        any |= bad[i];
    }
    shared.losses[threadIdx.x] = sum[0];
    any = __syncthreads_or(any);
    if (threadIdx.x > 0) return;
    flag[0] = any != 0;
    if (y) y[0] = sum_in_groups(shared.losses, kThreads, 1) / divisor;
}

template <class T>
void launch_cross_entropy_total(const Accumulator<T>* sums, const int32_t* bad, int64_t parts, Accumulator<T> divisor,
                                Accumulator<T>* y, int32_t* flag, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(1);
    shape.block = dim3(kThreads);
    shape.shared_bytes = sizeof(LinesMemory<Accumulator<T>>);
    launch(cross_entropy_total<T>, shape, stream, sums, bad, parts, divisor, y, flag);
}

}  // namespace convgpu::softmax
