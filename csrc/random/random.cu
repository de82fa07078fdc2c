#include "random.h"

#include <cmath>
#include <stdexcept>

#include "../common/vectors.h"
#include "draw_vectors.cuh"
#include "dropout_vectors.cuh"

namespace convgpu::random {
namespace {

// Checks both states, and returns where a kernel finds them.
StateAt checked(const char* op, const Array& state, const Array& next, const Plan& plan) {
    const bool keyed = state.dtype == DType::kUInt32;
    const Shape shape{keyed ? 2 : 3};
    const DType dtype = keyed ? DType::kUInt32 : DType::kUInt64;
    check_array(op, "state", state, shape, dtype);
    check_array(op, "next", next, shape, dtype);
    if (!is_aligned(state.data, size_of(dtype))) {
        throw std::invalid_argument(std::string(op) + ": expected a state that begins at a multiple of " +
                                    std::to_string(size_of(dtype)) + " bytes, got another");
    }
    if (state.data == next.data) {
        throw std::invalid_argument(std::string(op) +
                                    ": expected memory of its own for the next state, got the state's");
    }
    return {state.data, next.data, plan.blocks(), keyed};
}

void check_finite(Op op, const char* name, double value) {
    if (std::isfinite(value)) return;
    throw std::invalid_argument(std::string(name_of(op)) + ": expected a finite " + name + ", got " +
                                std::to_string(value));
}

// Checks the arrays of a draw of floating numbers, and draws Distribution<T>{first, second}.
template <template <class> class Distribution>
void draw(Op op, const Array& state, const Array& y, const Array& next, const Plan& plan, double first, double second,
          Stream stream) {
    const char* name = name_of(op);
    check_float(name, "y", y);
    check_array(name, "y", y, y.shape, y.dtype);
    check_plan(plan, op, y, is_vector_aligned(y));
    const StateAt at = checked(name, state, next, plan);
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        const Distribution<T> distribution{static_cast<A>(first), static_cast<A>(second)};
        launch_draw_vectors<T, decltype(vector)::value>(y.as<T>(), plan.size, at, distribution, stream);
    });
}

template <class T>
void draw_integers(const Array& y, const Plan& plan, const StateAt& at, int64_t low, uint64_t count, Stream stream) {
    const Integers<T> draw{static_cast<uint64_t>(low), count};
    if (plan.vector == 1) return launch_draw_vectors<T, 1>(y.as<T>(), plan.size, at, draw, stream);
    launch_draw_vectors<T, kVectorOf<T>>(y.as<T>(), plan.size, at, draw, stream);
}

}  // namespace

void dropout(const Array& x, const Array& state, const Array& y, const Array& next, const Plan& plan, double rate,
             Stream stream) {
    check_float("dropout", "x", x);
    check_array("dropout", "x", x, x.shape, x.dtype);
    check_array("dropout", "y", y, x.shape, x.dtype);
    check_plan(plan, Op::kDropout, x, is_vector_aligned(x) && is_vector_aligned(y));
    if (!(rate >= 0 && rate <= 1)) {
        throw std::invalid_argument("dropout: expected a rate in [0, 1], got " + std::to_string(rate));
    }
    const StateAt at = checked("dropout", state, next, plan);
    const auto threshold = static_cast<uint32_t>(std::ceil(rate * (1 << 24)));
    const double scale = rate < 1 ? 1 / (1 - rate) : 0;
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        launch_dropout_vectors<T, decltype(vector)::value>(x.as<const T>(), y.as<T>(), plan.size,
                                                           Dropping<A>{at, threshold, static_cast<A>(scale)}, stream);
    });
}

void uniform(const Array& state, const Array& y, const Array& next, const Plan& plan, double low, double high,
             Stream stream) {
    check_finite(Op::kUniform, "low", low);
    check_finite(Op::kUniform, "high", high);
    draw<Uniform>(Op::kUniform, state, y, next, plan, low, high - low, stream);
}

void normal(const Array& state, const Array& y, const Array& next, const Plan& plan, double mean, double std,
            Stream stream) {
    check_finite(Op::kNormal, "mean", mean);
    check_finite(Op::kNormal, "std", std);
    draw<Normal>(Op::kNormal, state, y, next, plan, mean, std, stream);
}

void integers(const Array& state, const Array& y, const Array& next, const Plan& plan, int64_t low, uint64_t count,
              Stream stream) {
    const bool wide = y.dtype == DType::kInt64;
    check_array("integers", "y", y, y.shape, wide ? DType::kInt64 : DType::kInt32);
    check_plan(plan, Op::kIntegers, y, is_vector_aligned(y));
    const StateAt at = checked("integers", state, next, plan);
    if (wide) return draw_integers<int64_t>(y, plan, at, low, count, stream);
    draw_integers<int32_t>(y, plan, at, low, count, stream);
}

}  // namespace convgpu::random
