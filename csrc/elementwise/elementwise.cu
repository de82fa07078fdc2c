#include "elementwise.h"

#include <stdexcept>

#include "../common/vectors.h"
#include "activate_dgrad_vectors.cuh"
#include "activate_vectors.cuh"
#include "add_n_vectors.cuh"

namespace convgpu::elementwise {
namespace {

template <class A>
Activated<A> narrowed(const Activated<double>& by) {
    return {by.function, static_cast<A>(by.alpha), static_cast<A>(by.scale)};
}

}  // namespace

void activate(const Array& x, const Array& y, const Plan& plan, const Activated<double>& by, Stream stream) {
    check_float("activate", "x", x);
    check_array("activate", "x", x, x.shape, x.dtype);
    check_array("activate", "y", y, x.shape, x.dtype);
    check_plan(plan, Op::kActivate, x, is_vector_aligned(x) && is_vector_aligned(y));
    if (plan.size == 0) return;
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_activate_vectors<T, decltype(vector)::value>(x.as<const T>(), y.as<T>(), plan.size,
                                                            narrowed<Accumulator<T>>(by), stream);
    });
}

void activate_dgrad(const Array& gy, const Array& v, const Array& gx, const Plan& plan, const Activated<double>& by,
                    Stream stream) {
    const char* op = "activate_dgrad";
    check_float(op, "gy", gy);
    check_array(op, "gy", gy, gy.shape, gy.dtype);
    check_array(op, "v", v, gy.shape, gy.dtype);
    check_array(op, "gx", gx, gy.shape, gy.dtype);
    check_plan(plan, Op::kActivateDgrad, gy, is_vector_aligned(gy) && is_vector_aligned(v) && is_vector_aligned(gx));
    if (plan.size == 0) return;
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_activate_dgrad_vectors<T, decltype(vector)::value>(gy.as<const T>(), v.as<const T>(), gx.as<T>(),
                                                                  plan.size, narrowed<Accumulator<T>>(by), stream);
    });
}

void add_n(const std::vector<Array>& xs, const Array& y, const Plan& plan, Stream stream) {
    if (xs.empty() || xs.size() > kMostTerms) {
        throw std::invalid_argument("add_n: expected 1 to " + std::to_string(kMostTerms) + " arrays, got " +
                                    std::to_string(xs.size()));
    }
    check_float("add_n", "y", y);
    check_array("add_n", "y", y, y.shape, y.dtype);
    bool all_aligned = is_vector_aligned(y);
    for (const Array& x : xs) {
        check_array("add_n", "x", x, y.shape, y.dtype);
        all_aligned = all_aligned && is_vector_aligned(x);
    }
    check_plan(plan, Op::kAddN, y, all_aligned);
    if (plan.size == 0) return;
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        Terms<T> terms{{}, static_cast<int>(xs.size())};
        for (size_t k = 0; k < xs.size(); ++k) terms.at[k] = xs[k].as<const T>();
        launch_add_n_vectors<T, decltype(vector)::value>(terms, y.as<T>(), plan.size, stream);
    });
}

}  // namespace convgpu::elementwise
