// All layout changes are one problem: a batch of matrices to be transposed, the rows of one side in another order.
#pragma once
#include "../common/divisor.h"
#include "../device/launch.h"

namespace convgpu::layout {

// Where row i stands: i itself, or with i = a * inner + b at b * outer + a.
class RowOrder {
public:
    RowOrder() = default;
    RowOrder(int64_t outer, int64_t inner) : by_inner_(inner), outer_(outer) {}

    __device__ __forceinline__ int64_t operator()(int64_t i) const {
        uint64_t a = static_cast<uint64_t>(i);
        const uint64_t b = by_inner_.split(a);
        return static_cast<int64_t>(b * outer_ + a);
    }

private:
    Divisor by_inner_;  // by 1: the order as it is
    uint64_t outer_ = 0;
};

// y[batch][to(j)][i] = x[batch][from(i)][j], for i < rows and j < columns.
struct Transpose {
    int64_t batch, rows, columns;
    RowOrder from, to;

    __device__ __forceinline__ int64_t x_at(int64_t n, int64_t i, int64_t j) const {
        return (n * rows + from(i)) * columns + j;
    }
    __device__ __forceinline__ int64_t y_at(int64_t n, int64_t i, int64_t j) const {
        return (n * columns + to(j)) * rows + i;
    }
};

}  // namespace convgpu::layout
