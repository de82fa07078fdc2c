// The launchers share these functions, which check arrays and plans, and turn what a plan says into template arguments.
#pragma once
#include <type_traits>

#include "../common/counters.h"
#include "../common/dispatch.h"
#include "../common/vector.h"
#include "affine.h"
#include "plan.h"

namespace convgpu::norm {

template <int N>
using Int = std::integral_constant<int, N>;

// Calls use(Type<T>{}, Int<V>{}), where V is 1 or the number of elements in a vector of 16 bytes.
template <class Use>
void dispatch_vector(DType dtype, int vector, Use&& use) {
    dispatch_float(dtype, [&](auto type) {
        if (vector == 1) return use(type, Int<1>{});
        use(type, Int<static_cast<int>(kVectorBytes / sizeof(TypeOf<decltype(type)>))>{});
    });
}

inline DType accumulator_of(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

// Throws unless the array has the shape of x, which has as many elements as the geometry, and starts where the plan's
// vectors may. An absent array passes.
inline void check_image(const char* op, const char* name, const Array* array, const Array& x, const Plan& plan) {
    if (!array) return;
    check_float(op, name, *array);
    check_array(op, name, *array, x.shape, plan.dtype);
    if (array->size() != plan.geo.size()) {
        throw std::invalid_argument(std::string(op) + ": expected " + name + " of " + std::to_string(plan.geo.size()) +
                                    " elements, got shape " + text_of(array->shape));
    }
    if (plan.vector > 1 && array->size() > 0 && !is_aligned(array->data, kVectorBytes)) {
        throw std::invalid_argument(std::string(op) + ": expected " + name +
                                    " to start at a multiple of 16 bytes, as "
                                    "the plan was made for, got another address");
    }
}

inline void check_parameter(const char* op, const char* name, const Array* array, const Shape& shape, DType dtype) {
    if (array) check_array(op, name, *array, shape, accumulator_of(dtype));
}

inline void check_plan(const Plan& plan, Op op, const NormGeometry& geo, const Array& x) {
    if (plan.op == op && plan.geo == geo && plan.dtype == x.dtype) return;
    throw std::invalid_argument(std::string(name_of(op)) +
                                ": expected a plan for this op, dtype and geometry, got one "
                                "for " +
                                name_of(plan.op) + " of " + convgpu::name_of(plan.dtype) + " and " +
                                std::to_string(plan.geo.size()) + " elements");
}

template <class A>
const A* pointer(const Array* array) {
    return array ? array->as<const A>() : nullptr;
}

// Statistics of the shape (2, outer, groups) and (outer, groups), and the parameters.
template <class A>
Given<A> given_of(const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                  const NormGeometry& geo) {
    const A* const first = mean.as<const A>();
    return {first, first + geo.statistics(), rstd.as<const A>(), pointer<A>(scale), pointer<A>(offset)};
}

inline void check_given(const char* op, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                        const NormGeometry& geo, DType dtype) {
    check_parameter(op, "mean", &mean, {2, geo.outer, geo.groups}, dtype);
    check_parameter(op, "rstd", &rstd, {geo.outer, geo.groups}, dtype);
    check_parameter(op, "scale", scale, {geo.channels}, dtype);
    check_parameter(op, "offset", offset, {geo.channels}, dtype);
}

}  // namespace convgpu::norm
