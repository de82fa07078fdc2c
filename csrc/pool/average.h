// Average pooling and its gradient share these functions: the number that divides the sum of a window, and the
// quotients.
#pragma once
#include "../common/accumulate.h"
#include "../common/vector.h"
#include "../device/launch.h"
#include "windows.h"

namespace convgpu::pool {

__device__ __forceinline__ int64_t divisor_of(const Problem& p, int o, int h, int w) {
    return int64_t(p.axis[0].divisor(o, p.count_include_pad)) * p.axis[1].divisor(h, p.count_include_pad) *
           p.axis[2].divisor(w, p.count_include_pad);
}

template <class T, int V, class Sum>
__device__ __forceinline__ Vector<T, V> average(int64_t divisor, Sum sum) {
    Vector<T, V> all;
#pragma unroll
    for (int v = 0; v < V; ++v) all.at[v] = static_cast<T>(sum(v) / static_cast<Accumulator<T>>(divisor));
    return all;
}

}  // namespace convgpu::pool
