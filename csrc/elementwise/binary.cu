#include <stdexcept>

#include "../common/vectors.h"
#include "binary_vectors.cuh"
#include "elementwise.h"

namespace convgpu::elementwise {

void binary(const Array& a, const Array* b, const Array& y, const BinaryPlan& plan, BinaryFunction function,
            double number, Stream stream) {
    const char* op = "binary";
    check_float(op, "a", a);
    check_array(op, "a", a, plan.a, plan.dtype);
    if (b) check_array(op, "b", *b, plan.b, plan.dtype);
    if (!b && !plan.b.empty()) {
        throw std::invalid_argument("binary: expected an array b of shape " + text_of(plan.b) +
                                    ", for which the plan was made, got a number");
    }
    check_array(op, "y", y, plan.y, plan.dtype);
    if (plan.size == 0) return;
    if (plan.vector > 1) {
        for (const Array* array : {&a, b, &y}) {
            if (array && !is_vector_aligned(*array)) {
                throw std::invalid_argument(
                    "binary: expected arrays that begin at multiples of 16 bytes, for which "
                    "the plan was made, got others");
            }
        }
    }
    dispatch_float(plan.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        const auto run = [&](auto vector) {
            launch_binary_vectors<T, decltype(vector)::value>(a.as<const T>(), b ? b->as<const T>() : nullptr,
                                                              static_cast<T>(static_cast<Accumulator<T>>(number)),
                                                              y.as<T>(), plan, function, stream);
        };
        if (plan.vector == 1) return run(Int<1>{});
        run(Int<kVectorOf<T>>{});
    });
}

}  // namespace convgpu::elementwise
