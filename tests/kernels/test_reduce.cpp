// Runs every kernel of reductions on arrays of exactly the bytes that they need. The sanitizers watch this program.
#include "../../csrc/reduce/reduce.h"
#include "owned.h"

using namespace convgpu;

namespace {

struct Problem {
    Shape x;
    std::vector<int> axes;
};

// Returns for every element of x the result that it belongs to.
std::vector<int64_t> results_of(const Problem& problem) {
    std::vector<int64_t> of{0};
    for (size_t a = 0; a < problem.x.size(); ++a) {
        const bool reduced =
            std::find(problem.axes.begin(), problem.axes.end(), static_cast<int>(a)) != problem.axes.end();
        std::vector<int64_t> next;
        for (const int64_t i : of) {
            for (int64_t k = 0; k < problem.x[a]; ++k) next.push_back(reduced ? i : i * problem.x[a] + k);
        }
        of = next;
    }
    return of;
}

void run(const Problem& problem, DType dtype, int shift) {
    Owned x(problem.x, dtype, shift);
    x.fill(3);
    const int alignment = shift == 0 ? 16 : static_cast<int>(size_of(dtype));
    const std::vector<int64_t> of = results_of(problem);
    for (const auto function : {reduce::Function::kSum, reduce::Function::kMax, reduce::Function::kMin}) {
        const reduce::Plan plan =
            reduce::plan(function, problem.x, problem.axes, dtype, alignment, Device{}, kWorkspaceLimit);
        const Owned y({plan.results}, dtype), workspace({static_cast<int64_t>(plan.workspace)}, DType::kUInt8);
        reduce::reduce(x.array, y.array, plan, {workspace.array.data, plan.workspace}, nullptr);
        std::vector<double> expected(static_cast<size_t>(plan.results), function == reduce::Function::kSum ? 0 : NAN);
        for (size_t i = 0; i < of.size(); ++i) {
            double& sum = expected[static_cast<size_t>(of[i])];
            const double term = x.get(static_cast<int64_t>(i));
            sum = function == reduce::Function::kSum   ? sum + term
                  : function == reduce::Function::kMax ? std::fmax(sum, term)
                                                       : std::fmin(sum, term);
        }
        compare(y, expected, std::max(rounding_of(dtype), 1e-12), plan.text());
    }
}

}  // namespace

TEST(reductions_over_leading_trailing_and_mixed_axes) {
    const Problem problems[] = {{{37}, {0}},
                                {{5, 64}, {1}},
                                {{3, 5000}, {1}},
                                {{64, 5}, {0}},
                                {{3000, 8}, {0}},
                                {{3, 40, 16}, {1}},
                                {{4, 6, 5, 7}, {0, 2, 3}},
                                {{4, 6, 8, 8}, {0, 2, 3}},
                                {{2, 3, 2, 3, 2, 16}, {0, 2, 4}},
                                {{9, 1, 3}, {}}};
    for (const Problem& problem : problems) {
        in_turn([&] { run(problem, DType::kBFloat16, 0); });
        in_turn([&] { run(problem, DType::kFloat32, 1); });
        in_turn([&] { run(problem, DType::kFloat32, 0); });
        in_turn([&] { run(problem, DType::kFloat64, 0); });
    }
}
