// What the families share whose kernels go over arrays of one size in vectors: the width of a plan's vectors, the check
// that a plan is for a call, and the way from a plan to a template's arguments. A plan has the members op, size, dtype
// and vector, and name_of(op) is the name of its op.
#pragma once
#include <stdexcept>
#include <string>
#include <type_traits>

#include "check.h"
#include "dispatch.h"
#include "vector.h"

namespace convgpu {

template <int N>
using Int = std::integral_constant<int, N>;

// The elements of a vector of 16 bytes.
template <class T>
constexpr int kVectorOf = static_cast<int>(kVectorBytes / sizeof(T));

// Returns how many elements a thread loads or stores in one access, for arrays whose addresses `alignment` divides.
inline int vector_of(DType dtype, int alignment) {
    return alignment >= kVectorBytes ? static_cast<int>(kVectorBytes / size_of(dtype)) : 1;
}

inline bool is_vector_aligned(const Array& array) { return is_aligned(array.data, kVectorBytes); }

// Calls use(Type<T>{}, Int<V>{}), where V is 1 or the number of elements in a vector of 16 bytes.
template <class Plan, class Use>
void dispatch_vector(const Plan& plan, Use&& use) {
    dispatch_float(plan.dtype, [&](auto type) {
        if (plan.vector == 1) return use(type, Int<1>{});
        use(type, Int<kVectorOf<TypeOf<decltype(type)>>>{});
    });
}

// Throws unless the plan was made for this op, for the size and dtype of `like`, and for arrays aligned like these.
template <class Plan>
void check_plan(const Plan& plan, decltype(Plan::op) op, const Array& like, bool aligned) {
    const std::string name = name_of(op);
    if (plan.op != op || plan.dtype != like.dtype || plan.size != like.size()) {
        throw std::invalid_argument(name + ": expected a plan for this op, dtype and size, " + name + " of " +
                                    std::to_string(like.size()) + " " + name_of(like.dtype) + ", got one for " +
                                    name_of(plan.op) + " of " + std::to_string(plan.size) + " " + name_of(plan.dtype));
    }
    if (plan.vector > 1 && !aligned) {
        throw std::invalid_argument(name +
                                    ": expected arrays that begin at multiples of 16 bytes, for which the plan "
                                    "was made, got others");
    }
}

}  // namespace convgpu
