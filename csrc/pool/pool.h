// The launchers of pooling, one per op, each with a plan for that op. x and gx have the shape geo.x_shape(); y, gy and
// offsets have the shape geo.y_shape(), and offsets the dtype geo.offset_dtype().
#pragma once
#include "../common/array.h"
#include "plan.h"

namespace convgpu::pool {

// Computes y = the largest pixel of every window. Unless offsets is null, it becomes the winner's tap, counted in
// row-major order.
void max_pool(const Array& x, const Array& y, const Array* offsets, const PoolGeometry& geo, const Plan& plan,
              Stream stream);
// Computes gx = the sum of gy over the windows that each pixel has won.
void max_pool_dgrad(const Array& gy, const Array& offsets, const Array& gx, const PoolGeometry& geo, const Plan& plan,
                    Stream stream);
// Computes y = x at the winners, or 0 for an offset outside its window or the input.
void max_pool_gather(const Array& x, const Array& offsets, const Array& y, const PoolGeometry& geo, const Plan& plan,
                     Stream stream);
// Computes indices (int64) = the flat index of each winner over the spatial axes of x, or 0 for an offset outside its
// window or the input.
void max_pool_indices(const Array& offsets, const Array& indices, const PoolGeometry& geo, const Plan& plan,
                      Stream stream);
// Computes y = the average of every window.
void avg_pool(const Array& x, const Array& y, const PoolGeometry& geo, const Plan& plan, Stream stream);
// Computes gx = the sum of gy / divisor over the windows that hold each pixel.
void avg_pool_dgrad(const Array& gy, const Array& gx, const PoolGeometry& geo, const Plan& plan, Stream stream);
// Computes y = the norm_type-norm of every window, for a finite norm_type >= 1.
void lp_pool(const Array& x, const Array& y, const PoolGeometry& geo, const Plan& plan, double norm_type,
             Stream stream);
// Computes gx = the sum of gy * f(x / y) over the windows that hold each pixel. f(t) is |t|^power, times the sign of t
// if `with_sign` holds. It is 0 where y is 0, and where x is 0 and the power is negative.
void lp_pool_dgrad(const Array& gy, const Array& x, const Array& y, const Array& gx, const PoolGeometry& geo,
                   const Plan& plan, double power, bool with_sign, Stream stream);
// Computes z = the sum of v * f(x / y) over the pixels of every window. v has the shape of x, and z that of y.
void lp_pool_gather(const Array& v, const Array& x, const Array& y, const Array& z, const PoolGeometry& geo,
                    const Plan& plan, double power, bool with_sign, Stream stream);

}  // namespace convgpu::pool
