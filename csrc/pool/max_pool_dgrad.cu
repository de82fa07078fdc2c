#include "instances.h"
#include "max_pool_dgrad_disjoint.cuh"
#include "max_pool_dgrad_gather.cuh"
#include "pool.h"

namespace convgpu::pool {

void max_pool_dgrad(const Array& gy, const Array& offsets, const Array& gx, const PoolGeometry& geo, const Plan& plan,
                    Stream stream) {
    const char* op = "max_pool_dgrad";
    check_float(op, "gy", gy);
    check_array(op, "gy", gy, geo.y_shape(), gy.dtype);
    check_array(op, "offsets", offsets, geo.y_shape(), geo.offset_dtype());
    check_array(op, "gx", gx, geo.x_shape(), gy.dtype);
    if (gx.size() == 0) return;
    check_plan(plan, Op::kMaxPoolDgrad, geo, gy.dtype, all_aligned(gy, offsets, gx));
    const Problem problem = problem_of(geo);
    dispatch_vector(gy.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        constexpr int kVector = decltype(vector)::value;
        if (plan.kernel == Kernel::kDisjoint) {
            return launch_max_pool_dgrad_disjoint<T, uint8_t, kVector>(gy.as<T>(), offsets.as<uint8_t>(), gx.as<T>(),
                                                                       problem, stream);
        }
        dispatch_offset(geo.offset_dtype(), [&](auto offset) {
            using Offset = TypeOf<decltype(offset)>;
            launch_max_pool_dgrad_gather<T, Offset, kVector>(gy.as<T>(), offsets.as<Offset>(), gx.as<T>(), problem,
                                                             stream);
        });
    });
}

}  // namespace convgpu::pool
