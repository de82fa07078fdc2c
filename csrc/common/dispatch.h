// A dtype is known at run time, a template needs a type: this is the step from one to the other.
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

// Calls use(Type<T>{}) for the floating type of a dtype that check_float has passed.
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
