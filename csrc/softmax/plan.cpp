#include "plan.h"

#include <iterator>
#include <stdexcept>

#include "../common/workspace.h"

namespace convgpu::softmax {
namespace {

// The names stand in the order of Op.
constexpr const char* kOps[] = {"softmax", "softmax_dgrad", "cross_entropy", "cross_entropy_dgrad"};

constexpr int64_t kVectorBytes = 16;

}  // namespace

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of an op of softmax, got " + name);
}

Reduction reduction_of(const std::string& name) {
    if (name == "none") return Reduction::kNone;
    if (name == "sum") return Reduction::kSum;
    if (name == "mean") return Reduction::kMean;
    throw std::invalid_argument("cross_entropy: expected a reduction of none, sum or mean, got " + name);
}

Plan plan(Op op, const Shape& x, int axis, DType dtype, int alignment) {
    if (axis < 0 || axis >= static_cast<int>(x.size())) {
        throw std::invalid_argument(name_of(op) + std::string(": expected an axis of x of shape ") + text_of(x) +
                                    ", got " + std::to_string(axis));
    }
    Plan plan{op, x, axis, dtype};
    plan.classes = x[axis];
    for (int a = 0; a < static_cast<int>(x.size()); ++a) {
        if (a != axis) plan.lines *= x[a];
        if (a > axis) plan.inner *= x[a];
    }
    const int64_t full = kVectorBytes / static_cast<int64_t>(size_of(dtype));
    const bool whole = plan.inner == 1 && plan.classes % full == 0 && dtype != DType::kFloat64;
    if (alignment >= kVectorBytes && whole) plan.vector = static_cast<int>(full);
    if (plan.inner == 1) {  // where lines lie side by side, neighbouring threads own neighbouring lines
        constexpr int64_t kLeast = 4;
        while (plan.sharing < kThreads && plan.sharing * 2 * kLeast <= plan.classes / plan.vector) plan.sharing *= 2;
    }
    if (op == Op::kCrossEntropy) {
        const size_t sums =
            static_cast<size_t>(plan.blocks()) * (dtype == DType::kFloat64 ? sizeof(double) : sizeof(float));
        plan.workspace = Carver::rounded_up(sums) + static_cast<size_t>(plan.blocks()) * sizeof(int32_t);
    }
    return plan;
}

int64_t Plan::launches() const {
    if (op == Op::kCrossEntropy) return lines > 0 ? 2 : 1;
    return lines * classes > 0 ? 1 : 0;
}

std::string Plan::text() const {
    return std::string(name_of(op)) + "_lines vector=" + std::to_string(vector) +
           " sharing=" + std::to_string(sharing) + " workspace=" + std::to_string(workspace);
}

}  // namespace convgpu::softmax
