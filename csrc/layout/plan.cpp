#include "plan.h"

#include <algorithm>

#include "../common/vector.h"

namespace convgpu::layout {

Plan plan_transpose(const Transpose& problem, size_t element_bytes, bool aligned) {
    constexpr int64_t kNarrow = 16;
    if (std::min(problem.rows, problem.columns) <= kNarrow) return {true};
    const auto vector = static_cast<int>(kVectorBytes / element_bytes);
    return {false, aligned && problem.columns % vector == 0 ? vector : 1,
            aligned && problem.rows % vector == 0 ? vector : 1};
}

}  // namespace convgpu::layout
