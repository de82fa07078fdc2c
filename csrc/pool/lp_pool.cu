#include "instances.h"
#include "lp_pool_dgrad_gather.cuh"
#include "lp_pool_gather_window.cuh"
#include "lp_pool_window.cuh"
#include "pool.h"

namespace convgpu::pool {

void lp_pool(const Array& x, const Array& y, const PoolGeometry& geo, const Plan& plan, double norm_type,
             Stream stream) {
    const char* op = "lp_pool";
    check_float(op, "x", x);
    check_array(op, "x", x, geo.x_shape(), x.dtype);
    check_array(op, "y", y, geo.y_shape(), x.dtype);
    if (y.size() == 0) return;
    check_plan(plan, Op::kLpPool, geo, x.dtype, all_aligned(x, y));
    const Problem problem = problem_of(geo);
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_lp_pool_window<T, decltype(vector)::value>(x.as<T>(), y.as<T>(), problem, norm_type, stream);
    });
}

void lp_pool_dgrad(const Array& gy, const Array& x, const Array& y, const Array& gx, const PoolGeometry& geo,
                   const Plan& plan, double power, bool with_sign, Stream stream) {
    const char* op = "lp_pool_dgrad";
    check_float(op, "gy", gy);
    check_array(op, "gy", gy, geo.y_shape(), gy.dtype);
    check_array(op, "x", x, geo.x_shape(), gy.dtype);
    check_array(op, "y", y, geo.y_shape(), gy.dtype);
    check_array(op, "gx", gx, geo.x_shape(), gy.dtype);
    if (gx.size() == 0) return;
    check_plan(plan, Op::kLpPoolDgrad, geo, gy.dtype, all_aligned(gy, x, y, gx));
    const Problem problem = problem_of(geo);
    dispatch_vector(gy.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_lp_pool_dgrad_gather<T, decltype(vector)::value>(gy.as<T>(), x.as<T>(), y.as<T>(), gx.as<T>(), problem,
                                                                power, with_sign, stream);
    });
}

void lp_pool_gather(const Array& v, const Array& x, const Array& y, const Array& z, const PoolGeometry& geo,
                    const Plan& plan, double power, bool with_sign, Stream stream) {
    const char* op = "lp_pool_gather";
    check_float(op, "v", v);
    check_array(op, "v", v, geo.x_shape(), v.dtype);
    check_array(op, "x", x, geo.x_shape(), v.dtype);
    check_array(op, "y", y, geo.y_shape(), v.dtype);
    check_array(op, "z", z, geo.y_shape(), v.dtype);
    if (z.size() == 0) return;
    check_plan(plan, Op::kLpPoolGather, geo, v.dtype, all_aligned(v, x, y, z));
    const Problem problem = problem_of(geo);
    dispatch_vector(v.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_lp_pool_gather_window<T, decltype(vector)::value>(v.as<T>(), x.as<T>(), y.as<T>(), z.as<T>(), problem,
                                                                 power, with_sign, stream);
    });
}

}  // namespace convgpu::pool
