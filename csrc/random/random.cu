#include "random.h"

#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "dropout_vectors.cuh"

namespace convgpu::random {
namespace {

template <int N>
using Int = std::integral_constant<int, N>;

// Calls use(Type<T>{}, Int<V>{}), where V is 1 or the number of elements in a vector of 16 bytes.
template <class Use>
void dispatch_vector(const Plan& plan, Use&& use) {
    dispatch_float(plan.dtype, [&](auto type) {
        if (plan.vector == 1) return use(type, Int<1>{});
        use(type, Int<static_cast<int>(kVectorBytes / sizeof(TypeOf<decltype(type)>))>{});
    });
}

// Throws unless the plan was made for this op, size and dtype, and for arrays that are aligned like these.
void check_plan(const Plan& plan, Op op, const Array& like, bool aligned) {
    const std::string name = name_of(op);
    if (plan.op != op || plan.dtype != like.dtype || plan.size != like.size()) {
        throw std::invalid_argument(name + ": expected a plan for this op, dtype and size, " + name + " of " +
                                    std::to_string(like.size()) + " " + convgpu::name_of(like.dtype) +
                                    ", got one for " + name_of(plan.op) + " of " + std::to_string(plan.size) + " " +
                                    convgpu::name_of(plan.dtype));
    }
    if (plan.vector > 1 && !aligned) {
        throw std::invalid_argument(name +
                                    ": expected arrays that begin at multiples of 16 bytes, for which the plan "
                                    "was made, got others");
    }
}

}  // namespace

void dropout(const Array& x, const Array& y, const Plan& plan, const State& state, double rate, Stream stream) {
    check_float("dropout", "x", x);
    check_array("dropout", "x", x, x.shape, x.dtype);
    check_array("dropout", "y", y, x.shape, x.dtype);
    check_plan(plan, Op::kDropout, x, is_aligned(x.data, kVectorBytes) && is_aligned(y.data, kVectorBytes));
    if (!(rate >= 0 && rate <= 1)) {
        throw std::invalid_argument("dropout: expected a rate in [0, 1], got " + std::to_string(rate));
    }
    if (plan.size == 0) return;
    const auto threshold = static_cast<uint32_t>(std::ceil(rate * (1 << 24)));
    const double scale = rate < 1 ? 1 / (1 - rate) : 0;
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        launch_dropout_vectors<T, decltype(vector)::value>(
            x.as<const T>(), y.as<T>(), plan.size, Dropping<A>{state, threshold, static_cast<A>(scale)}, stream);
    });
}

}  // namespace convgpu::random
