#include "softmax.h"

#include <stdexcept>
#include <type_traits>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "cross_entropy_dgrad_lines.cuh"
#include "cross_entropy_lines.cuh"
#include "cross_entropy_total.cuh"
#include "softmax_dgrad_lines.cuh"
#include "softmax_lines.cuh"

namespace convgpu::softmax {
namespace {

template <int N>
using Int = std::integral_constant<int, N>;

// Calls use(Type<T>{}, Int<V>{}), where V is 1 or the number of elements in a vector of 16 bytes.
template <class Use>
void dispatch_vector(const Plan& plan, Use&& use) {
    dispatch_float(plan.dtype, [&](auto type) {
        if (plan.vector == 1) return use(type, Int<1>{});
        using T = TypeOf<decltype(type)>;  // float64 is read one by one, for the sake of registers
        use(type, Int<sizeof(T) < 8 ? static_cast<int>(kVectorBytes / sizeof(T)) : 1>{});
    });
}

// Throws unless the plan was made for this op, shape and dtype, and for arrays that are aligned like these.
void check_plan(const Plan& plan, Op op, const Array& x, bool aligned) {
    const std::string name = name_of(op);
    if (plan.op != op || plan.dtype != x.dtype || plan.x != x.shape) {
        throw std::invalid_argument(name + ": expected a plan for this op, dtype and shape, " + name + " of " +
                                    convgpu::name_of(x.dtype) + " " + text_of(x.shape) + ", got one for " +
                                    name_of(plan.op) + " of " + convgpu::name_of(plan.dtype) + " " + text_of(plan.x));
    }
    if (plan.vector > 1 && !aligned) {
        throw std::invalid_argument(name +
                                    ": expected arrays that begin at multiples of 16 bytes, for which the plan "
                                    "was made, got others");
    }
}

bool aligned(const Array& array) { return is_aligned(array.data, kVectorBytes); }

DType accumulator_of(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

void check_labels(const char* op, const Array& labels, const Plan& plan) {
    if (labels.dtype <= DType::kFloat64) {
        throw TypeError(std::string(op) + ": expected labels of an integer dtype, got " + name_of(labels.dtype));
    }
    check_array(op, "labels", labels, labels.shape, labels.dtype);
    if (labels.size() != plan.lines) {
        throw std::invalid_argument(std::string(op) + ": expected " + std::to_string(plan.lines) +
                                    " labels, got shape " + text_of(labels.shape));
    }
}

void check_losses(const char* op, const char* name, const Array& y, const Plan& plan, Reduction reduction) {
    check_array(op, name, y, y.shape, accumulator_of(plan.dtype));
    if (y.size() != (reduction == Reduction::kNone ? plan.lines : 1)) {
        throw std::invalid_argument(std::string(op) + ": expected " + name + " of " +
                                    (reduction == Reduction::kNone ? std::to_string(plan.lines) : std::string("1")) +
                                    " elements, got shape " + text_of(y.shape));
    }
}

}  // namespace

void softmax(const Array& x, const Array& y, const Plan& plan, bool log_of, Stream stream) {
    check_float("softmax", "x", x);
    check_array("softmax", "x", x, x.shape, x.dtype);
    check_array("softmax", "y", y, x.shape, x.dtype);
    if (x.size() == 0) return;
    check_plan(plan, Op::kSoftmax, x, aligned(x) && aligned(y));
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_softmax_lines<T, decltype(vector)::value>(x.as<const T>(), y.as<T>(), plan, log_of, stream);
    });
}

void softmax_dgrad(const Array& gy, const Array& y, const Array& gx, const Plan& plan, bool log_of, Stream stream) {
    const char* op = "softmax_dgrad";
    check_float(op, "gy", gy);
    check_array(op, "gy", gy, gy.shape, gy.dtype);
    check_array(op, "y", y, gy.shape, gy.dtype);
    check_array(op, "gx", gx, gy.shape, gy.dtype);
    if (gy.size() == 0) return;
    check_plan(plan, Op::kSoftmaxDgrad, gy, aligned(gy) && aligned(y) && aligned(gx));
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        launch_softmax_dgrad_lines<T, decltype(vector)::value>(gy.as<const T>(), y.as<const T>(), gx.as<T>(), plan,
                                                               log_of, stream);
    });
}

void cross_entropy(const Array& x, const Array& labels, const Array& y, const Array& statistics, const Array& flag,
                   const Plan& plan, double smoothing, Reduction reduction, const Workspace& workspace, Stream stream) {
    const char* op = "cross_entropy";
    check_float(op, "x", x);
    check_array(op, "x", x, x.shape, x.dtype);
    check_plan(plan, Op::kCrossEntropy, x, aligned(x));
    check_labels(op, labels, plan);
    check_losses(op, "y", y, plan, reduction);
    check_array(op, "statistics", statistics, {2, plan.lines}, accumulator_of(x.dtype));
    check_array(op, "flag", flag, {1}, DType::kInt32);
    workspace.check(op, plan.workspace);
    Carver carver(workspace);
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        auto* const sums = static_cast<A*>(carver.take(static_cast<size_t>(plan.blocks()) * sizeof(A)).data);
        auto* const bad = static_cast<int32_t*>(carver.rest().data);
        A* const losses = reduction == Reduction::kNone ? y.as<A>() : nullptr;
        const Targets<A> targets{{labels.data, labels.dtype}, static_cast<A>(smoothing)};
        if (plan.lines > 0) {
            launch_cross_entropy_lines<T, decltype(vector)::value>(x.as<const T>(), targets, losses, statistics.as<A>(),
                                                                   sums, bad, plan, stream);
        }
        const A divisor = reduction == Reduction::kMean ? static_cast<A>(plan.lines) : A(1);
        launch_cross_entropy_total<T>(sums, bad, plan.lines > 0 ? plan.blocks() : 0, divisor,
                                      reduction == Reduction::kNone ? nullptr : y.as<A>(), flag.as<int32_t>(), stream);
    });
}

void cross_entropy_dgrad(const Array& x, const Array& labels, const Array& statistics, const Array& g, const Array& gx,
                         const Plan& plan, double smoothing, Reduction reduction, Stream stream) {
    const char* op = "cross_entropy_dgrad";
    check_float(op, "x", x);
    check_array(op, "x", x, x.shape, x.dtype);
    check_plan(plan, Op::kCrossEntropyDgrad, x, aligned(x) && aligned(gx));
    check_labels(op, labels, plan);
    check_losses(op, "g", g, plan, reduction);
    check_array(op, "statistics", statistics, {2, plan.lines}, accumulator_of(x.dtype));
    check_array(op, "gx", gx, x.shape, x.dtype);
    if (x.size() == 0) return;
    dispatch_vector(plan, [&](auto type, auto vector) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        const A divisor = reduction == Reduction::kMean ? static_cast<A>(plan.lines) : A(1);
        launch_cross_entropy_dgrad_lines<T, decltype(vector)::value>(
            x.as<const T>(), Targets<A>{{labels.data, labels.dtype}, static_cast<A>(smoothing)},
            statistics.as<const A>(), g.as<const A>(), reduction == Reduction::kNone, gx.as<T>(), divisor, plan,
            stream);
    });
}

}  // namespace convgpu::softmax
