// The launchers share these functions, which check that a plan fits the call, and turn what it says into template
// arguments.
#pragma once
#include <type_traits>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "../common/vector.h"
#include "plan.h"

namespace convgpu::pool {

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

// Calls use(Type<Offset>{}), where Offset is the type of the geometry's offsets.
template <class Use>
void dispatch_offset(DType dtype, Use&& use) {
    switch (dtype) {
        case DType::kUInt8:
            return use(Type<uint8_t>{});
        case DType::kUInt16:
            return use(Type<uint16_t>{});
        default:
            return use(Type<int32_t>{});
    }
}

template <class... Arrays>
bool all_aligned(const Arrays&... arrays) {
    return (is_aligned(arrays.data, kVectorBytes) && ...);
}

// Throws unless the plan was made for this op, geometry and dtype, and for arrays that are aligned like these.
inline void check_plan(const Plan& plan, Op op, const PoolGeometry& geo, DType dtype, bool aligned) {
    const std::string name = name_of(op);
    if (plan.op != op || plan.dtype != dtype || plan.geo != geo) {
        throw std::invalid_argument(name + ": expected a plan for this op, dtype and geometry, " + name + " of " +
                                    convgpu::name_of(dtype) + " " + text_of(geo.x_shape()) + ", got one for " +
                                    name_of(plan.op) + " of " + convgpu::name_of(plan.dtype) + " " +
                                    text_of(plan.geo.x_shape()));
    }
    if (plan.vector > 1 && !aligned) {
        throw std::invalid_argument(name +
                                    ": expected arrays that begin at multiples of 16 bytes, for which the plan "
                                    "was made, got others");
    }
}

}  // namespace convgpu::pool
