#include "instances.h"
#include "max_pool_gather.cuh"
#include "pool.h"

namespace convgpu::pool {

void max_pool_gather(const Array& x, const Array& offsets, const Array& y, const PoolGeometry& geo, const Plan& plan,
                     Stream stream) {
    const char* op = "max_pool_gather";
    check_float(op, "x", x);
    check_array(op, "x", x, geo.x_shape(), x.dtype);
    check_array(op, "offsets", offsets, geo.y_shape(), geo.offset_dtype());
    check_array(op, "y", y, geo.y_shape(), x.dtype);
    if (y.size() == 0) return;
    check_plan(plan, Op::kMaxPoolGather, geo, x.dtype, all_aligned(offsets, y));
    const Problem problem = problem_of(geo);
    dispatch_vector(x.dtype, plan.vector, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        dispatch_offset(geo.offset_dtype(), [&](auto offset) {
            using Offset = TypeOf<decltype(offset)>;
            launch_max_pool_gather<T, Offset, decltype(vector)::value>(x.as<T>(), offsets.as<Offset>(), y.as<T>(),
                                                                       problem, stream);
        });
    });
}

void max_pool_indices(const Array& offsets, const Array& indices, const PoolGeometry& geo, const Plan& plan,
                      Stream stream) {
    const char* op = "max_pool_indices";
    check_array(op, "offsets", offsets, geo.y_shape(), geo.offset_dtype());
    check_array(op, "indices", indices, geo.y_shape(), DType::kInt64);
    if (indices.size() == 0) return;
    check_plan(plan, Op::kMaxPoolIndices, geo, DType::kInt64, all_aligned(offsets, indices));
    const Problem problem = problem_of(geo);
    dispatch_offset(geo.offset_dtype(), [&](auto offset) {
        using Offset = TypeOf<decltype(offset)>;
        if (plan.vector == 1) {
            return launch_max_pool_indices<Offset, 1>(offsets.as<Offset>(), indices.as<int64_t>(), problem, stream);
        }
        launch_max_pool_indices<Offset, 2>(offsets.as<Offset>(), indices.as<int64_t>(), problem, stream);
    });
}

}  // namespace convgpu::pool
