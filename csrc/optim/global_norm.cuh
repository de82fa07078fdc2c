// The norm of all elements of a list of arrays, by two kernels: global_norm adds the squares of each block's elements,
// and global_norm_total adds these sums and takes the root.
//
// A block of global_norm owns one chunk of one array, a thread every 256th vector of it; the one block of
// global_norm_total owns all sums. Layouts: lists of arrays, xs. Assumes nothing of addresses but the elements' own
// alignment. Order: a thread adds its squares from left to right, then the threads of a block are added as a binary
// tree. All in float64, where squares of float32 can neither overflow nor underflow.
#pragma once
#include "table.h"

namespace convgpu::optim {

struct ThreadSums {
    double of[kThreads];

    // Returns the sum over all threads' values to thread 0.
    __device__ __forceinline__ double total(double value) {
        of[threadIdx.x] = value;
        __syncthreads();
        for (unsigned half = kThreads / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) of[threadIdx.x] += of[threadIdx.x + half];
            __syncthreads();
        }
        return of[0];
    }
};

template <class T>
__global__ void __launch_bounds__(kThreads) global_norm(const __grid_constant__ Table table, double* sums) {
    const Part part = table.part();
    const T* x = table.array<const T>(0, part);
    double sum = 0;
    each_vector(part, vector_aligned(x), [&](auto width, int64_t i) {
        constexpr int V = decltype(width)::value;
        const Vector<T, V> values = load<V>(x + i);
#pragma unroll
        for (int e = 0; e < V; ++e) {
            const double value = static_cast<Accumulator<T>>(values.at[e]);
            sum += value * value;
        }
    });
    const double total = dyn_smem<ThreadSums>().total(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

static __global__ void __launch_bounds__(kThreads) global_norm_total(const double* sums, int64_t count, double* norm) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
    const double total = dyn_smem<ThreadSums>().total(sum);
    if (threadIdx.x == 0) *norm = sqrt(total);
}

template <class T>
void launch_global_norm(const Plan& plan, const Table& table, double* sums, double* norm, Stream stream) {
    LaunchShape shape = shape_of(plan);
    shape.shared_bytes = sizeof(ThreadSums);
    launch(global_norm<T>, shape, stream, table, sums);
    shape.grid = dim3(1);
    launch(global_norm_total, shape, stream, static_cast<const double*>(sums), plan.blocks, norm);
}

}  // namespace convgpu::optim
