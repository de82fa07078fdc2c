#include "layout.h"

#include <algorithm>
#include <stdexcept>

#include "../common/check.h"
#include "plan.h"
#include "transpose_narrow.cuh"
#include "transpose_tiled.cuh"

namespace convgpu::layout {
namespace {

int64_t product(Shape::const_iterator begin, Shape::const_iterator end) {
    int64_t p = 1;
    for (; begin != end; ++begin) p *= *begin;
    return p;
}

// A change of layout: the shape that it gives, and the transpose that it is.
struct Change {
    Shape y_shape;
    Transpose transpose;
};

Change change_of(const std::string& op, const Shape& x) {
    if (x.size() < 3 || x.size() > 5) {
        throw std::invalid_argument(op + ": expected x of 3 to 5 axes, got shape " + text_of(x));
    }
    const Shape middle(x.begin() + 1, x.end() - 1), spatial_last(x.begin() + 2, x.end());
    const Shape spatial_first(x.begin(), x.end() - 2);
    Shape y;
    if (op == "nchw_to_nhwc") {
        y = {x[0]};
        y.insert(y.end(), spatial_last.begin(), spatial_last.end());
        y.push_back(x[1]);
        return {y, {x[0], x[1], product(x.begin() + 2, x.end()), {}, {}}};
    }
    if (op == "nhwc_to_nchw") {
        y = {x[0], x.back()};
        y.insert(y.end(), middle.begin(), middle.end());
        return {y, {x[0], product(x.begin() + 1, x.end() - 1), x.back(), {}, {}}};
    }
    if (op == "oihw_to_hwio") {
        const int64_t filters = x[0], channels = x[1], taps = product(x.begin() + 2, x.end());
        y = spatial_last;
        y.push_back(channels);
        y.push_back(filters);
        return {y, {1, filters, channels * taps, {}, RowOrder(channels, std::max<int64_t>(taps, 1))}};
    }
    if (op == "hwio_to_oihw") {
        const int64_t filters = x.back(), channels = x[x.size() - 2], taps = product(x.begin(), x.end() - 2);
        y = {filters, channels};
        y.insert(y.end(), spatial_first.begin(), spatial_first.end());
        return {y, {1, channels * taps, filters, RowOrder(channels, std::max<int64_t>(taps, 1)), {}}};
    }
    throw std::invalid_argument("plan: expected the name of a layout op, got " + op);
}

template <class T>
void run(const Array& x, const Array& y, const Transpose& problem, const Plan& plan, Stream stream) {
    constexpr int kVector = kVectorBytes / sizeof(T);
    const T* from = x.as<T>();
    T* to = y.as<T>();
    if (plan.narrow) return launch_transpose_narrow<T>(from, to, problem, stream);
    if (plan.in > 1 && plan.out > 1) return launch_transpose_tiled<T, kVector, kVector>(from, to, problem, stream);
    if (plan.in > 1) return launch_transpose_tiled<T, kVector, 1>(from, to, problem, stream);
    if (plan.out > 1) return launch_transpose_tiled<T, 1, kVector>(from, to, problem, stream);
    launch_transpose_tiled<T, 1, 1>(from, to, problem, stream);
}

void run(const char* op, const Array& x, const Array& y, Stream stream) {
    const Change change = change_of(op, x.shape);
    check_array(op, "x", x, x.shape, x.dtype);
    check_array(op, "y", y, change.y_shape, x.dtype);
    if (y.size() == 0) return;
    const bool aligned = is_aligned(x.data, kVectorBytes) && is_aligned(y.data, kVectorBytes);
    const Plan plan = plan_transpose(change.transpose, size_of(x.dtype), aligned);
    switch (size_of(x.dtype)) {
        case 1:
            return run<uint8_t>(x, y, change.transpose, plan, stream);
        case 2:
            return run<uint16_t>(x, y, change.transpose, plan, stream);
        case 4:
            return run<uint32_t>(x, y, change.transpose, plan, stream);
        default:
            return run<uint64_t>(x, y, change.transpose, plan, stream);
    }
}

}  // namespace

void nchw_to_nhwc(const Array& x, const Array& y, Stream stream) { run("nchw_to_nhwc", x, y, stream); }
void nhwc_to_nchw(const Array& x, const Array& y, Stream stream) { run("nhwc_to_nchw", x, y, stream); }
void oihw_to_hwio(const Array& x, const Array& y, Stream stream) { run("oihw_to_hwio", x, y, stream); }
void hwio_to_oihw(const Array& x, const Array& y, Stream stream) { run("hwio_to_oihw", x, y, stream); }

std::string plan(const std::string& op, const Shape& x, DType dtype) {
    const Plan plan = plan_transpose(change_of(op, x).transpose, size_of(dtype), true);
    if (plan.narrow) return "transpose_narrow";
    return "transpose_tiled in=" + std::to_string(plan.in) + " out=" + std::to_string(plan.out);
}

}  // namespace convgpu::layout
