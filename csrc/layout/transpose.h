// Every change of layout is one problem: a batch of matrices is transposed. The rows of x, or those of y, may also
// change their order.
#pragma once
#include "../common/divisor.h"
#include "../device/launch.h"
#include "plan.h"

namespace convgpu::layout {

// Tells where row i lies in memory: at i or, if the rows have another order, at b * outer + a for i = a * inner + b.
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
    Divisor by_inner_;  // divides by 1 where rows keep their order
    uint64_t outer_ = 0;
};

// Computes y[batch][to(j)][i] = x[batch][from(i)][j] for i < rows and j < columns.
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

// A change of layout: the shape that it gives to x, and the transpose that does it. change_of throws for shapes of
// fewer than 3 axes, or of more than 5.
struct Change {
    Shape y_shape;
    Transpose transpose;
};

Change change_of(Op op, const Shape& x);

}  // namespace convgpu::layout
