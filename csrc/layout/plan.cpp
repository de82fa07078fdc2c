#include "plan.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "../common/vector.h"
#include "transpose.h"

namespace convgpu::layout {
namespace {

// The names stand in the order of Op.
constexpr const char* kOps[] = {"nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "hwio_to_oihw"};

int64_t product(Shape::const_iterator begin, Shape::const_iterator end) {
    int64_t p = 1;
    for (; begin != end; ++begin) p *= *begin;
    return p;
}

}  // namespace

Change change_of(Op op, const Shape& x) {
    if (x.size() < 3 || x.size() > 5) {
        throw std::invalid_argument(name_of(op) + std::string(": expected x of 3 to 5 axes, got shape ") + text_of(x));
    }
    const Shape middle(x.begin() + 1, x.end() - 1), spatial_last(x.begin() + 2, x.end());
    const Shape spatial_first(x.begin(), x.end() - 2);
    Shape y;
    if (op == Op::kNchwToNhwc) {
        y = {x[0]};
        y.insert(y.end(), spatial_last.begin(), spatial_last.end());
        y.push_back(x[1]);
        return {y, {x[0], x[1], product(x.begin() + 2, x.end()), {}, {}}};
    }
    if (op == Op::kNhwcToNchw) {
        y = {x[0], x.back()};
        y.insert(y.end(), middle.begin(), middle.end());
        return {y, {x[0], product(x.begin() + 1, x.end() - 1), x.back(), {}, {}}};
    }
    if (op == Op::kOihwToHwio) {
        const int64_t filters = x[0], channels = x[1], taps = product(x.begin() + 2, x.end());
        y = spatial_last;
        y.push_back(channels);
        y.push_back(filters);
        return {y, {1, filters, channels * taps, {}, RowOrder(channels, std::max<int64_t>(taps, 1))}};
    }
    const int64_t filters = x.back(), channels = x[x.size() - 2], taps = product(x.begin(), x.end() - 2);
    y = {filters, channels};
    y.insert(y.end(), spatial_first.begin(), spatial_first.end());
    return {y, {1, channels * taps, filters, RowOrder(channels, std::max<int64_t>(taps, 1)), {}}};
}

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of a layout op, got " + name);
}

Plan plan(Op op, const Shape& x, DType dtype, int alignment) {
    constexpr int64_t kNarrow = 16;  // elements; a tile would be mostly empty
    const Transpose transpose = change_of(op, x).transpose;
    Plan plan{op, x, dtype};
    if (std::min(transpose.rows, transpose.columns) <= kNarrow) {
        plan.kernel = Kernel::kNarrow;
        return plan;
    }
    const auto vector = static_cast<int>(kVectorBytes / size_of(dtype));
    const bool aligned = alignment >= kVectorBytes;
    if (aligned && transpose.columns % vector == 0) plan.in = vector;
    if (aligned && transpose.rows % vector == 0) plan.out = vector;
    return plan;
}

int64_t Plan::launches() const { return Array{nullptr, x, {}, dtype}.size() == 0 ? 0 : 1; }

std::string Plan::text() const {
    if (kernel == Kernel::kNarrow) return "transpose_narrow";
    return "transpose_tiled in=" + std::to_string(in) + " out=" + std::to_string(out);
}

}  // namespace convgpu::layout
