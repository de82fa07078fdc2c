// The ops as the binding calls them: arguments are checked, and handed to the kernels of the instruction set in use.
//
// Arrays may have any strides that are whole elements; results must not overlap operands.
#pragma once
#include "../common/array.h"
#include "../common/geometry.h"
#include "../common/options.h"
#include "gather.h"

namespace convgpu::cpu {

// A convolution geometry with its gathers, which are made once.
struct ConvProblem {
    explicit ConvProblem(ConvGeometry geometry);
    ConvGeometry geo;
    std::vector<Gather> fprop, dgrad;
};

void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvProblem& problem,
                Activation activation, int threads);
void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvProblem& problem,
                Activation activation, int threads);
void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvProblem& problem, int threads);
void channel_sum(const Array& gy, const Array& gb, bool channels_last, int threads);

// Stacks of matrices: a (items, M, K), b (items, K, N), y (items, M, N). c, if it is there, has the shape of y. An item
// of a or b that is repeated has a stride of 0.
void gemm(const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta,
          Activation activation, int threads);

void max_pool(const Array& x, const Array& y, const Array* offsets, const PoolGeometry& geo, int threads);
void max_pool_dgrad(const Array& gy, const Array& offsets, const Array& gx, const PoolGeometry& geo, int threads);
void max_pool_gather(const Array& x, const Array& offsets, const Array& y, const PoolGeometry& geo, int threads);
void max_pool_indices(const Array& offsets, const Array& indices, const PoolGeometry& geo, int threads);
void avg_pool(const Array& x, const Array& y, const PoolGeometry& geo, int threads);
void avg_pool_dgrad(const Array& gy, const Array& gx, const PoolGeometry& geo, int threads);
void lp_pool(const Array& x, const Array& y, const PoolGeometry& geo, double norm_type, int threads);
void lp_pool_dgrad(const Array& gy, const Array& x, const Array& y, const Array& gx, const PoolGeometry& geo,
                   double power, bool with_sign, int threads);
void lp_pool_gather(const Array& v, const Array& x, const Array& y, const Array& z, const PoolGeometry& geo,
                    double power, bool with_sign, int threads);

// y[i, j, k] = x[i, k, j], for three axes and elements of any dtype.
void swap_last_axes(const Array& x, const Array& y, int threads);

}  // namespace convgpu::cpu
