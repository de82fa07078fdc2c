// From what a plan and an array say at run time to the template arguments of a kernel.
#pragma once
#include <type_traits>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "../common/vector.h"

namespace convgpu::pool {

template <int N>
using Int = std::integral_constant<int, N>;

// Calls use(Type<T>{}, Int<V>{}): V is 1 or as many elements as a vector of 16 bytes holds.
template <class Use>
void dispatch_vector(DType dtype, int vector, Use&& use) {
    dispatch_float(dtype, [&](auto type) {
        if (vector == 1) return use(type, Int<1>{});
        use(type, Int<static_cast<int>(kVectorBytes / sizeof(TypeOf<decltype(type)>))>{});
    });
}

// Calls use(Type<Offset>{}) for the type of a geometry's offsets.
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

}  // namespace convgpu::pool
