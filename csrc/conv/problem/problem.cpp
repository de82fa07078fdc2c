#include "problem.h"

#include <stdexcept>

#include "../../common/check.h"

namespace convgpu::conv {

Direction direction_of(const std::string& op) {
    for (const Direction direction : {Direction::kFprop, Direction::kDgrad, Direction::kWgrad}) {
        if (op == name_of(direction)) return direction;
    }
    throw std::invalid_argument("plan: expected conv_fprop, conv_dgrad or conv_wgrad, got " + op);
}

bool writes_vectors(const Problem& problem, const Array& result) {
    const ConvGeometry& geo = problem.geo;
    const int64_t columns = (problem.direction == Direction::kDgrad ? geo.channels : geo.filters) / geo.groups;
    return is_aligned(result.data, kFullAlignment) &&
           columns % static_cast<int64_t>(kFullAlignment / size_of(problem.dtype)) == 0;
}

}  // namespace convgpu::conv
