#include "elementwise.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "../common/check.h"
#include "arguments.h"
#include "isa.h"

namespace convgpu::cpu {
namespace {

// An axis of the result: its length, and the step of every array along it, that of the result last.
struct Axis {
    int64_t length;
    std::vector<int64_t> steps;

    // Whether this axis and the one inside it are one axis of every array.
    bool continues(const Axis& inner) const {
        for (size_t i = 0; i < steps.size(); ++i) {
            if (steps[i] != inner.steps[i] * inner.length) return false;
        }
        return true;
    }
};

Axis axis_of(const std::vector<const Array*>& arrays, size_t from_last) {
    const Array& y = *arrays.back();
    Axis axis{y.shape[y.shape.size() - 1 - from_last], {}};
    for (const Array* array : arrays) {
        const size_t rank = array->shape.size();
        const bool repeats = from_last >= rank || array->shape[rank - 1 - from_last] == 1;
        axis.steps.push_back(
            repeats ? 0 : array->strides[rank - 1 - from_last] / static_cast<int64_t>(size_of(array->dtype)));
    }
    return axis;
}

// The axes from the outermost to the innermost one of the result; neighbours that every array runs through without a
// gap are merged.
std::vector<Axis> merged_axes(const std::vector<const Array*>& arrays) {
    std::vector<Axis> axes;
    for (size_t i = arrays.back()->shape.size(); i-- > 0;) {
        Axis axis = axis_of(arrays, i);
        if (axis.length != 1) axes.push_back(std::move(axis));
    }
    std::stable_sort(axes.begin(), axes.end(),
                     [](const Axis& a, const Axis& b) { return std::abs(a.steps.back()) > std::abs(b.steps.back()); });
    std::vector<Axis> merged;
    for (Axis& axis : axes) {
        if (!merged.empty() && merged.back().continues(axis)) {
            axis.length *= merged.back().length;
            merged.back() = std::move(axis);
        } else {
            merged.push_back(std::move(axis));
        }
    }
    if (merged.empty()) merged.push_back({1, std::vector<int64_t>(arrays.size(), 0)});
    return merged;
}

// Calls the kernel for operands and a result, which is the last array.
void run(void (*kernel)(const ElementwiseCall&), const std::vector<const Array*>& arrays, ElementwiseCall call) {
    if (arrays.back()->size() == 0) return;
    const std::vector<Axis> axes = merged_axes(arrays);
    std::vector<int64_t> sizes, steps;
    for (const Axis& axis : axes) sizes.push_back(axis.length);
    for (size_t i = 0; i < arrays.size(); ++i) {
        for (const Axis& axis : axes) steps.push_back(axis.steps[i]);
    }
    std::vector<Operand> operands;
    for (size_t i = 0; i < arrays.size(); ++i) {
        operands.push_back({arrays[i]->as<char>(), steps.data() + i * axes.size()});
    }
    call.size = sizes.data();
    call.rank = static_cast<int64_t>(sizes.size());
    call.x = operands.data();
    call.count = static_cast<int64_t>(arrays.size()) - 1;
    call.y = operands.back();
    kernel(call);
}

}  // namespace

void activate(const Array& x, const Array& y, const elementwise::Activated<double>& by, int threads) {
    check_float("activate", "x", x);
    check_view("activate", "x", x, y.shape, x.dtype);
    check_view("activate", "y", y, y.shape, x.dtype);
    ElementwiseCall call;
    call.by = by;
    call.threads = threads;
    run(kernels_for(x.dtype).activate, {&x, &y}, call);
}

void activate_dgrad(const Array& gy, const Array& v, const Array& gx, const elementwise::Activated<double>& by,
                    int threads) {
    check_float("activate_dgrad", "gy", gy);
    check_view("activate_dgrad", "gy", gy, gx.shape, gy.dtype);
    check_view("activate_dgrad", "v", v, gx.shape, gy.dtype);
    check_view("activate_dgrad", "gx", gx, gx.shape, gy.dtype);
    ElementwiseCall call;
    call.by = by;
    call.threads = threads;
    run(kernels_for(gy.dtype).activate_dgrad, {&gy, &v, &gx}, call);
}

void add_n(const std::vector<Array>& xs, const Array& y, int threads) {
    if (xs.empty()) throw std::invalid_argument("add_n: expected at least 1 array, got none");
    check_float("add_n", "xs[0]", xs[0]);
    std::vector<const Array*> arrays;
    for (const Array& x : xs) {
        check_view("add_n", ("xs[" + std::to_string(arrays.size()) + "]").c_str(), x, y.shape, xs[0].dtype);
        arrays.push_back(&x);
    }
    check_view("add_n", "y", y, y.shape, xs[0].dtype);
    arrays.push_back(&y);
    ElementwiseCall call;
    call.threads = threads;
    run(kernels_for(y.dtype).add_n, arrays, call);
}

void binary(const Array& a, const Array& b, const Array& y, elementwise::BinaryFunction function, int threads) {
    check_float("binary", "a", a);
    for (const Array* operand : {&a, &b}) {
        check_view("binary", operand == &a ? "a" : "b", *operand, operand->shape, a.dtype);
        const size_t rank = operand->shape.size();
        bool fits = rank <= y.shape.size();
        for (size_t i = 0; fits && i < rank; ++i) {
            const int64_t length = operand->shape[rank - 1 - i];
            fits = length == 1 || length == y.shape[y.shape.size() - 1 - i];
        }
        if (!fits) {
            throw std::invalid_argument("binary: expected operands that broadcast to shape " + text_of(y.shape) +
                                        ", got " + text_of(a.shape) + " and " + text_of(b.shape));
        }
    }
    check_view("binary", "y", y, y.shape, a.dtype);
    ElementwiseCall call;
    call.function = function;
    call.threads = threads;
    run(kernels_for(a.dtype).binary, {&a, &b, &y}, call);
}

}  // namespace convgpu::cpu
