#include "reduce.h"

#include <stdexcept>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "reduce_columns.cuh"
#include "reduce_rows.cuh"

namespace convgpu::reduce {
namespace {

template <template <class> class Reduction, class T, int V>
void launch_first(const T* x, const Results<T>& y, const Plan& plan, Stream stream) {
    if (plan.kernel == Kernel::kRows) return launch_reduce_rows<Reduction, T, V>(x, y, plan, stream);
    launch_reduce_columns<Reduction, T, T, V>(x, y, plan, stream);
}

// The plan that combines the parts of every result: they are the rows of a matrix.
Plan of_parts(const Plan& plan) {
    Plan second = plan;
    second.kernel = Kernel::kColumns;
    second.kept.clear();
    second.reduced = {{plan.parts, plan.results}};
    second.inner = plan.results;
    second.terms = plan.parts;
    second.vector = second.parts = 1;
    second.sharing = 1;
    while (second.sharing < 64 && second.sharing * 2 <= plan.parts) second.sharing *= 2;
    return second;
}

template <template <class> class Reduction, class T>
void run(const Array& x, const Array& y, const Plan& plan, const Workspace& workspace, Stream stream) {
    using A = Accumulator<T>;
    const bool mean = plan.function == Function::kMean;
    const A count = static_cast<A>(plan.terms);
    A* const parts = plan.parts > 1 ? static_cast<A*>(workspace.data) : nullptr;
    const Results<T> first{y.as<T>(), parts, mean, count};
    if (plan.vector == 1) {
        launch_first<Reduction, T, 1>(x.as<const T>(), first, plan, stream);
    } else {
        launch_first<Reduction, T, kVectorBytes / sizeof(T)>(x.as<const T>(), first, plan, stream);
    }
    if (!parts) return;
    launch_reduce_columns<Reduction, A, T, 1>(parts, Results<T>{y.as<T>(), nullptr, mean, count}, of_parts(plan),
                                              stream);
}

}  // namespace

void reduce(const Array& x, const Array& y, const Plan& plan, const Workspace& workspace, Stream stream) {
    const char* op = "reduce";
    check_float(op, "x", x);
    check_array(op, "x", x, plan.x, plan.dtype);
    check_array(op, "y", y, y.shape, plan.dtype);
    if (y.size() != plan.results) {
        throw std::invalid_argument("reduce: expected y of " + std::to_string(plan.results) + " elements, got shape " +
                                    text_of(y.shape));
    }
    if (plan.results == 0) return;
    const bool extreme = plan.function == Function::kMax || plan.function == Function::kMin;
    if (extreme && plan.terms == 0) {
        throw std::invalid_argument("reduce: expected terms for the largest or smallest of them, got none");
    }
    if (plan.vector > 1 && plan.terms > 0 && !is_aligned(x.data, kVectorBytes)) {
        throw std::invalid_argument(
            "reduce: expected x to begin at a multiple of 16 bytes, for which the plan was "
            "made, got another address");
    }
    workspace.check(op, plan.workspace);
    dispatch_float(plan.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        if (plan.function == Function::kMax) return run<Max, T>(x, y, plan, workspace, stream);
        if (plan.function == Function::kMin) return run<Min, T>(x, y, plan, workspace, stream);
        run<Sum, T>(x, y, plan, workspace, stream);
    });
}

}  // namespace convgpu::reduce
