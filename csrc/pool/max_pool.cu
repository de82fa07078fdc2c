#include "instances.h"
#include "max_pool_split.cuh"
#include "max_pool_window.cuh"
#include "pool.h"

namespace convgpu::pool {

void max_pool(const Array& x, const Array& y, const Array* offsets, const PoolGeometry& geo, const Plan& plan,
              Stream stream) {
    const char* op = "max_pool";
    check_float(op, "x", x);
    check_array(op, "x", x, geo.x_shape(), x.dtype);
    check_array(op, "y", y, geo.y_shape(), x.dtype);
    if (offsets) check_array(op, "offsets", *offsets, geo.y_shape(), geo.offset_dtype());
    if (y.size() == 0) return;
    check_plan(plan, Op::kMaxPool, geo, x.dtype, all_aligned(x, y) && (!offsets || all_aligned(*offsets)));
    const Problem problem = problem_of(geo);
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        constexpr int kVector = decltype(vector)::value;
        if (plan.kernel == Kernel::kSplit) {
            return dispatch_offset(geo.offset_dtype(), [&](auto offset) {
                using Offset = TypeOf<decltype(offset)>;
                launch_max_pool_split<T, Offset, kVector>(
                    x.as<T>(), y.as<T>(), offsets ? offsets->as<Offset>() : nullptr, problem, plan.lanes, stream);
            });
        }
        auto* winners = offsets ? offsets->as<uint8_t>() : nullptr;  // the plan splits windows with more taps
        switch (plan.side) {
            case 2:
                return launch_max_pool_window<T, uint8_t, kVector, 2>(x.as<T>(), y.as<T>(), winners, problem, stream);
            case 3:
                return launch_max_pool_window<T, uint8_t, kVector, 3>(x.as<T>(), y.as<T>(), winners, problem, stream);
            default:
                return launch_max_pool_window<T, uint8_t, kVector, 0>(x.as<T>(), y.as<T>(), winners, problem, stream);
        }
    });
}

}  // namespace convgpu::pool
