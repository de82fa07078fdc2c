#include "layout.h"

#include <stdexcept>

#include "../common/check.h"
#include "transpose_narrow.cuh"
#include "transpose_tiled.cuh"

namespace convgpu::layout {
namespace {

// Throws unless the plan was made for this op, shape and dtype, and for arrays that are aligned like these.
void check_plan(const Plan& plan, Op op, const Array& x, const Array& y) {
    const std::string name = name_of(op);
    if (plan.op != op || plan.dtype != x.dtype || plan.x != x.shape) {
        throw std::invalid_argument(name + ": expected a plan for this op, dtype and shape, " + name + " of " +
                                    convgpu::name_of(x.dtype) + " " + text_of(x.shape) + ", got one for " +
                                    name_of(plan.op) + " of " + convgpu::name_of(plan.dtype) + " " + text_of(plan.x));
    }
    const bool aligned = is_aligned(x.data, kVectorBytes) && is_aligned(y.data, kVectorBytes);
    if ((plan.in > 1 || plan.out > 1) && !aligned) {
        throw std::invalid_argument(name +
                                    ": expected x and y that begin at multiples of 16 bytes, for which the plan "
                                    "was made, got others");
    }
}

// Moves elements as values of T, which may be any type of the element's size.
template <class T>
void run(const Array& x, const Array& y, const Transpose& problem, const Plan& plan, Stream stream) {
    constexpr int kVector = kVectorBytes / sizeof(T);
    const T* from = x.as<T>();
    T* to = y.as<T>();
    if (plan.kernel == Kernel::kNarrow) return launch_transpose_narrow<T>(from, to, problem, stream);
    if (plan.in > 1 && plan.out > 1) return launch_transpose_tiled<T, kVector, kVector>(from, to, problem, stream);
    if (plan.in > 1) return launch_transpose_tiled<T, kVector, 1>(from, to, problem, stream);
    if (plan.out > 1) return launch_transpose_tiled<T, 1, kVector>(from, to, problem, stream);
    launch_transpose_tiled<T, 1, 1>(from, to, problem, stream);
}

void run(Op op, const Array& x, const Array& y, const Plan& plan, Stream stream) {
    const Change change = change_of(op, x.shape);
    check_array(name_of(op), "x", x, x.shape, x.dtype);
    check_array(name_of(op), "y", y, change.y_shape, x.dtype);
    if (y.size() == 0) return;
    check_plan(plan, op, x, y);
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

void nchw_to_nhwc(const Array& x, const Array& y, const Plan& plan, Stream stream) {
    run(Op::kNchwToNhwc, x, y, plan, stream);
}
void nhwc_to_nchw(const Array& x, const Array& y, const Plan& plan, Stream stream) {
    run(Op::kNhwcToNchw, x, y, plan, stream);
}
void oihw_to_hwio(const Array& x, const Array& y, const Plan& plan, Stream stream) {
    run(Op::kOihwToHwio, x, y, plan, stream);
}
void hwio_to_oihw(const Array& x, const Array& y, const Plan& plan, Stream stream) {
    run(Op::kHwioToOihw, x, y, plan, stream);
}

}  // namespace convgpu::layout
