#include "plan.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace convgpu::reduce {
namespace {

// The names stand in the order of Function.
constexpr const char* kFunctions[] = {"sum", "mean", "max", "min"};

constexpr int64_t kVectorBytes = 16;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Merges neighbouring axes of one kind, and leaves out those of length 1. Outermost first.
struct Merged {
    std::vector<Axis> axes;
    std::vector<bool> reduced;
};

Merged merged(const Shape& x, const std::vector<int>& axes) {
    Merged found;
    int64_t stride = 1;
    for (int a = static_cast<int>(x.size()) - 1; a >= 0; --a) {
        const bool reduced = std::find(axes.begin(), axes.end(), a) != axes.end();
        if (x[a] == 1) continue;
        if (!found.axes.empty() && found.reduced.front() == reduced) {
            found.axes.front().length *= x[a];
        } else {
            found.axes.insert(found.axes.begin(), {x[a], stride});
            found.reduced.insert(found.reduced.begin(), reduced);
        }
        stride *= x[a];
    }
    return found;
}

void share(Plan& plan, const Device& device, size_t limit) {
    constexpr int64_t kLeast = 8, kMostParts = 1024;  // accesses of a thread, and parts of a result
    const int64_t accesses = plan.kernel == Kernel::kRows ? plan.terms / plan.vector : plan.terms;
    int64_t most = kThreads;
    if (plan.kernel == Kernel::kColumns) {  // a warp's accesses are neighbours if the columns are enough for that
        const int64_t columns = std::max<int64_t>(plan.results / plan.vector, 1);
        for (int64_t side = 2; side <= std::min<int64_t>(32, columns); side *= 2) most = kThreads / side;
    }
    while (plan.sharing * 2 <= most && plan.sharing * 2 * kLeast <= accesses) plan.sharing *= 2;
    const int64_t owned = plan.kernel == Kernel::kRows ? plan.results : plan.results / plan.vector;
    const int64_t blocks = std::max<int64_t>(ceil_div(owned * plan.sharing, kThreads), 1);
    const int64_t wanted = ceil_div(int64_t(8) * device.multiprocessors, blocks);
    const auto bytes =
        static_cast<int64_t>(plan.dtype == DType::kFloat64 ? sizeof(double) : sizeof(float)) * plan.results;
    const int64_t affordable = static_cast<int64_t>(limit) / std::max<int64_t>(bytes, 1);
    plan.parts = static_cast<int>(
        std::max<int64_t>(std::min({wanted, accesses / (plan.sharing * kLeast), kMostParts, affordable}), 1));
    if (plan.parts > 1) plan.workspace = static_cast<size_t>(plan.parts * bytes);
}

}  // namespace

Function function_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kFunctions); ++i) {
        if (name == kFunctions[i]) return static_cast<Function>(i);
    }
    throw std::invalid_argument("reduce: expected sum, mean, max or min, got " + name);
}

Plan plan(Function function, const Shape& x, const std::vector<int>& axes, DType dtype, int alignment,
          const Device& device, size_t limit) {
    Plan plan{function, x, axes, dtype};
    for (const int a : axes) {
        if (a < 0 || a >= static_cast<int>(x.size())) {
            throw std::invalid_argument("reduce: expected axes of x of shape " + text_of(x) + ", got axis " +
                                        std::to_string(a));
        }
    }
    for (size_t a = 0; a < x.size(); ++a) {
        (std::find(axes.begin(), axes.end(), static_cast<int>(a)) != axes.end() ? plan.terms : plan.results) *= x[a];
    }
    Merged found = merged(x, axes);
    if (!found.axes.empty()) {
        plan.kernel = found.reduced.back() ? Kernel::kRows : Kernel::kColumns;
        plan.inner = found.axes.back().length;
        found.axes.pop_back();
    }
    for (size_t i = found.axes.size(); i-- > 0;) {
        (found.reduced[i] ? plan.reduced : plan.kept).push_back(found.axes[i]);
    }
    if (std::max(plan.kept.size(), plan.reduced.size()) > kMostAxes) {
        throw std::invalid_argument("reduce: expected at most " + std::to_string(2 * kMostAxes) +
                                    " changes between axes that stay and axes that go, got shape " + text_of(x));
    }
    const int64_t full = kVectorBytes / static_cast<int64_t>(size_of(dtype));
    if (alignment >= kVectorBytes && plan.inner % full == 0) plan.vector = static_cast<int>(full);
    if (plan.results > 0 && plan.terms > 0) share(plan, device, limit);
    return plan;
}

int64_t Plan::launches() const { return results == 0 ? 0 : parts > 1 ? 2 : 1; }

std::string Plan::text() const {
    return std::string(kernel == Kernel::kRows ? "reduce_rows" : "reduce_columns") +
           " vector=" + std::to_string(vector) + " sharing=" + std::to_string(sharing) +
           " parts=" + std::to_string(parts) + " workspace=" + std::to_string(workspace);
}

}  // namespace convgpu::reduce
