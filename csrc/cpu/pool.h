// Pooling and its gradients, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays may have any strides that are
// whole elements; results must not overlap operands.
#pragma once
#include "../common/array.h"
#include "../common/geometry.h"

namespace convgpu::cpu {

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

}  // namespace convgpu::cpu
