#include "gemm.h"

#include <stdexcept>

#include "../common/check.h"
#include "arguments.h"
#include "isa.h"

namespace convgpu::cpu {

void gemm(const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta,
          Activation activation, int threads) {
    check_float("gemm", "a", a);
    if (a.shape.size() != 3 || b.shape.size() != 3) {
        throw std::invalid_argument("gemm: expected stacks of matrices, got shapes " + text_of(a.shape) + " and " +
                                    text_of(b.shape));
    }
    GemmCall call;
    call.items = a.shape[0];
    call.M = a.shape[1];
    call.K = a.shape[2];
    call.N = b.shape[2];
    check_view("gemm", "a", a, a.shape, a.dtype);
    check_view("gemm", "b", b, {call.items, call.K, call.N}, a.dtype);
    check_view("gemm", "y", y, {call.items, call.M, call.N}, a.dtype);
    if (y.size() != 0 && call.N > 1 && y.strides[2] != static_cast<int64_t>(size_of(y.dtype))) {
        throw std::invalid_argument("gemm: expected y with rows without gaps, got strides " + text_of(y.strides));
    }
    if (c) {
        check_view("gemm", "c", *c, y.shape, a.dtype);
        call.c = matrices_of(*c);
    }
    call.a = matrices_of(a);
    call.b = matrices_of(b);
    call.y = matrices_of(y);
    Gather rows;
    rows.axis[2].count = call.M;
    call.rows = &rows;
    call.alpha = alpha;
    call.beta = beta;
    call.activation = activation;
    call.threads = threads;
    kernels_for(a.dtype).gemm(call);
}

}  // namespace convgpu::cpu
