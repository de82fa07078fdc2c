#include "binary_plan.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "../common/vector.h"

namespace convgpu::elementwise {
namespace {

// The length of the axis that is `from_last` places before the last one; 1 where there is none.
int64_t length_of(const Shape& shape, size_t from_last) {
    return from_last < shape.size() ? shape[shape.size() - 1 - from_last] : 1;
}

}  // namespace

BinaryPlan plan_binary(const Shape& a, const Shape& b, const Shape& y, DType dtype, int alignment) {
    BinaryPlan plan{a, b, y, dtype};
    int64_t step_a = 1, step_b = 1;
    for (size_t i = 0; i < std::max({a.size(), b.size(), y.size()}); ++i) {
        const int64_t of_a = length_of(a, i), of_b = length_of(b, i), length = length_of(y, i);
        if (i >= y.size() || (of_a != length && of_a != 1) || (of_b != length && of_b != 1)) {
            throw std::invalid_argument("binary: expected operands that broadcast to shape " + text_of(y) + ", got " +
                                        text_of(a) + " and " + text_of(b));
        }
        plan.size *= length;
        const BroadcastAxis axis{length, of_a == 1 ? 0 : step_a, of_b == 1 ? 0 : step_b};
        step_a *= of_a;
        step_b *= of_b;
        if (length == 1) continue;
        if (!plan.axes.empty()) {
            BroadcastAxis& last = plan.axes.back();
            if ((last.a == 0) == (axis.a == 0) && (last.b == 0) == (axis.b == 0)) {
                last.length *= length;
                continue;
            }
        }
        plan.axes.push_back(axis);
    }
    if (plan.size == 0) return plan;
    if (plan.axes.size() > kMostAxes)
        throw std::invalid_argument("binary: expected fewer axes, got " + text_of(plan.y));
    const int64_t full = kVectorBytes / static_cast<int64_t>(size_of(dtype));
    if (alignment >= kVectorBytes && (plan.axes.size() < 2 || plan.axes.front().length % full == 0)) {
        plan.vector = static_cast<int>(full);
    }
    return plan;
}

int64_t BinaryPlan::launches() const { return size > 0 ? 1 : 0; }

std::string BinaryPlan::text() const {
    return "binary_vectors vector=" + std::to_string(vector) + " axes=" + std::to_string(axes.size());
}

}  // namespace convgpu::elementwise
