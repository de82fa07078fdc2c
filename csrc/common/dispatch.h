// A dtype is known at run time, but a template needs a type. The functions here lead from one to the other.
#pragma once
#include "../device/launch.h"
#include "array.h"
#include "error.h"

namespace convgpu {

// Carries a type into a generic lambda.
template <class T>
struct Type {
    using type = T;
};
template <class Tag>
using TypeOf = typename Tag::type;

// Calls use(Type<T>{}), where T is the C++ type of the dtype. The dtype must have passed check_float.
template <class Use>
void dispatch_float(DType dtype, Use&& use) {
    switch (dtype) {
        case DType::kFloat16:
            return use(Type<__half>{});
        case DType::kBFloat16:
            return use(Type<__nv_bfloat16>{});
        case DType::kFloat32:
            return use(Type<float>{});
        case DType::kFloat64:
            return use(Type<double>{});
        default:
            throw TypeError(std::string("expected a floating dtype, got ") + name_of(dtype));
    }
}

}  // namespace convgpu
