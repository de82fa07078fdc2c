// The wgmma kernels multiply zeros that stand for padding, and zero times Inf is NaN. A NaN among their results is
// therefore computed again from the products that exist (sum_again of tile/product.h), and stays only if one of these
// makes it. hopper/product.h and tile/sum_splits.cuh call mend(problem, item, row, column) for each such result.
#pragma once
#include "../../tile/product.h"
#include "dgrad.h"
#include "fprop.h"

namespace convgpu::conv {

template <class Problem>
__device__ __forceinline__ void mend(const Problem& p, int item, int m, int n, int K) {
    const auto result = p(item);
    if (result.is_nan(m, n)) tile::write(result, m, n, Vector<float, 1>{tile::sum_again<float>(p, item, m, n, 0, K)});
}
template <class T>
__device__ __forceinline__ void mend(const Fprop<T>& p, int group, int m, int n) {
    mend(p, group, m, n, p.K);
}
template <class T>
__device__ __forceinline__ void mend(const Dgrad<T>& p, int number, int m, int n) {
    mend(p, number, m, n, p.item(number).K);
}

}  // namespace convgpu::conv
