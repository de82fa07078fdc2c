// The second pass of a sum whose parts several blocks have computed: result[i] = the sum over p of parts[p][i].
//
// A block owns kSumElements neighbouring elements. Its threads share the parts of each element: a thread owns every
// kSumLanes-th part.
// Layouts: parts[part][i]. Assumes nothing.
// Order of summation: a thread adds its parts in rising order, in blocks of 64; the threads' sums are then added in
// rising order, in groups of 16.
#pragma once
#include "../../common/accumulate.h"
#include "../../device/launch.h"

namespace convgpu::conv {

// Tells where the first pass writes to. It writes to `sums` if there are several parts, or if the result has the type
// of sums. Otherwise it rounds its sums and writes them to the result itself.
template <class T>
struct PartOfResult {
    T* result;
    Accumulator<T>* sums;

    __device__ __forceinline__ void put(int64_t i, Accumulator<T> value) const {
        if (sums) {
            sums[i] = value;
        } else {
            result[i] = static_cast<T>(value);
        }
    }
};

constexpr int kSumElements = 32, kSumLanes = 32;

// Returns the sum of every kSumLanes-th part, from part `lane` on; parts[p * size] is part p of `count`.
template <class A>
__device__ __forceinline__ A sum_of_lane(const A* parts, int lane, int count, int64_t size) {
    BlockedSum<A, 1> sum;
#pragma unroll 8
    for (int part = lane; part < count; part += kSumLanes) {
        sum.add_each([&](int) { return parts[part * size]; });
    }
    return sum[0];
}

template <class A>
struct SumPartsMemory {
    A sums[kSumLanes][kSumElements];
};

template <class A, class T>
__global__ void __launch_bounds__(kSumElements* kSumLanes)
    sum_parts(const A* __restrict__ parts, T* __restrict__ result, int count, int64_t size) {
    auto& shared = dyn_smem<SumPartsMemory<A>>();
    const int64_t i = int64_t(blockIdx.x) * kSumElements + threadIdx.x;
    const A mine = i < size ? sum_of_lane(parts + i, static_cast<int>(threadIdx.y), count, size) : A(0);
    shared.sums[threadIdx.y][threadIdx.x] = mine;
    __syncthreads();
    if (i >= size || threadIdx.y > 0) return;
    result[i] = static_cast<T>(sum_in_groups(&shared.sums[0][threadIdx.x], kSumLanes, kSumElements));
}

template <class A, class T>
void launch_sum_parts(const A* parts, T* result, int count, int64_t size, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((size + kSumElements - 1) / kSumElements));
    shape.block = dim3(kSumElements, kSumLanes);
    shape.shared_bytes = sizeof(SumPartsMemory<A>);
    launch(sum_parts<A, T>, shape, stream, parts, result, count, size);
}

}  // namespace convgpu::conv
