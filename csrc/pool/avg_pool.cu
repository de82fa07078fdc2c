#include "avg_pool_dgrad_gather.cuh"
#include "avg_pool_split.cuh"
#include "avg_pool_window.cuh"
#include "instances.h"
#include "pool.h"

namespace convgpu::pool {

void avg_pool(const Array& x, const Array& y, const PoolGeometry& geo, const Plan& plan, Stream stream) {
    const char* op = "avg_pool";
    check_float(op, "x", x);
    check_array(op, "x", x, geo.x_shape(), x.dtype);
    check_array(op, "y", y, geo.y_shape(), x.dtype);
    if (y.size() == 0) return;
    check_plan(plan, Op::kAvgPool, geo, x.dtype, all_aligned(x, y));
    const Problem problem = problem_of(geo);
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        constexpr int kVector = decltype(vector)::value;
        if (plan.kernel == Kernel::kSplit) {
            return launch_avg_pool_split<T, kVector>(x.as<T>(), y.as<T>(), problem, plan.lanes, stream);
        }
        switch (plan.side) {
            case 2:
                return launch_avg_pool_window<T, kVector, 2>(x.as<T>(), y.as<T>(), problem, stream);
            case 3:
                return launch_avg_pool_window<T, kVector, 3>(x.as<T>(), y.as<T>(), problem, stream);
            default:
                return launch_avg_pool_window<T, kVector, 0>(x.as<T>(), y.as<T>(), problem, stream);
        }
    });
}

void avg_pool_dgrad(const Array& gy, const Array& gx, const PoolGeometry& geo, const Plan& plan, Stream stream) {
    const char* op = "avg_pool_dgrad";
    check_float(op, "gy", gy);
    check_array(op, "gy", gy, geo.y_shape(), gy.dtype);
    check_array(op, "gx", gx, geo.x_shape(), gy.dtype);
    if (gx.size() == 0) return;
    check_plan(plan, Op::kAvgPoolDgrad, geo, gy.dtype, all_aligned(gy, gx));
    const Problem problem = problem_of(geo);
    dispatch_vector(gy.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_avg_pool_dgrad_gather<T, decltype(vector)::value>(gy.as<T>(), gx.as<T>(), problem, stream);
    });
}

}  // namespace convgpu::pool
