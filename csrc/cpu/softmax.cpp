#include "softmax.h"

#include <stdexcept>

#include "../common/check.h"
#include "../common/error.h"
#include "arguments.h"
#include "isa.h"

namespace convgpu::cpu {
namespace {

SoftmaxCall call_of(const char* op, const Array& x, int64_t axis, int threads) {
    check_float(op, "x", x);
    if (axis < 0 || axis >= static_cast<int64_t>(x.shape.size())) {
        throw std::invalid_argument(std::string(op) + ": expected an axis of x, got " + std::to_string(axis) +
                                    " and shape " + text_of(x.shape));
    }
    SoftmaxCall call;
    call.outer = call.classes = call.inner = 1;
    for (int64_t a = 0; a < static_cast<int64_t>(x.shape.size()); ++a) {
        (a < axis ? call.outer : a == axis ? call.classes : call.inner) *= x.shape[a];
    }
    call.threads = threads;
    return call;
}

// The data of an array without gaps, after its checks.
void* dense(const char* op, const char* name, const Array& array, const Shape& shape, DType dtype) {
    check_view(op, name, array, shape, dtype);
    check_array(op, name, array, shape, dtype);
    return array.data;
}

DType wide(const Array& x) { return x.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

LabelType label_type_of(const char* op, const Array& labels) {
    switch (labels.dtype) {
        case DType::kUInt8:
            return LabelType::kUInt8;
        case DType::kUInt16:
            return LabelType::kUInt16;
        case DType::kInt32:
            return LabelType::kInt32;
        case DType::kInt64:
            return LabelType::kInt64;
        default:
            throw TypeError(std::string(op) + ": expected labels of dtype uint8, uint16, int32 or int64, got " +
                            name_of(labels.dtype));
    }
}

void set_loss(SoftmaxCall& call, const char* op, const Array& x, const Array& labels, const Loss& loss) {
    Shape shape = x.shape;
    shape.erase(shape.begin() + loss.axis);
    call.x = dense(op, "x", x, x.shape, x.dtype);
    call.labels = dense(op, "labels", labels, shape, labels.dtype);
    call.label_type = label_type_of(op, labels);
    call.smoothing = loss.smoothing;
    call.reduction = loss.reduction;
}

Shape shape_of_losses(const Array& labels, const Loss& loss) {
    return loss.reduction == LossReduction::kNone ? labels.shape : Shape{};
}

}  // namespace

LossReduction loss_reduction_of(const std::string& name) {
    if (name == "none") return LossReduction::kNone;
    if (name == "sum") return LossReduction::kSum;
    if (name == "mean") return LossReduction::kMean;
    throw std::invalid_argument("cross_entropy: expected the reduction none, sum or mean, got " + name);
}

void softmax(const Array& x, const Array& y, int64_t axis, bool log_of, int threads) {
    SoftmaxCall call = call_of("softmax", x, axis, threads);
    call.x = dense("softmax", "x", x, x.shape, x.dtype);
    call.result = dense("softmax", "y", y, x.shape, x.dtype);
    call.log_of = log_of;
    if (call.size() != 0) kernels_for(x.dtype).softmax(call);
}

void softmax_dgrad(const Array& gy, const Array& y, const Array& gx, int64_t axis, bool log_of, int threads) {
    SoftmaxCall call = call_of("softmax_dgrad", gy, axis, threads);
    call.gy = dense("softmax_dgrad", "gy", gy, gy.shape, gy.dtype);
    call.y = dense("softmax_dgrad", "y", y, gy.shape, gy.dtype);
    call.gx = dense("softmax_dgrad", "gx", gx, gy.shape, gy.dtype);
    call.log_of = log_of;
    if (call.size() != 0) kernels_for(gy.dtype).softmax_dgrad(call);
}

void cross_entropy(const Array& x, const Array& labels, const Array& losses, const Array& statistics, const Array& flag,
                   const Loss& loss, int threads) {
    const char* const op = "cross_entropy";
    SoftmaxCall call = call_of(op, x, loss.axis, threads);
    set_loss(call, op, x, labels, loss);
    call.losses = dense(op, "losses", losses, shape_of_losses(labels, loss), wide(x));
    call.statistics = dense(op, "statistics", statistics, {2, call.lines()}, wide(x));
    call.flag = static_cast<int32_t*>(dense(op, "flag", flag, {1}, DType::kInt32));
    kernels_for(x.dtype).cross_entropy(call);
}

void cross_entropy_dgrad(const Array& x, const Array& labels, const Array& statistics, const Array& g, const Array& gx,
                         const Loss& loss, int threads) {
    const char* const op = "cross_entropy_dgrad";
    SoftmaxCall call = call_of(op, x, loss.axis, threads);
    set_loss(call, op, x, labels, loss);
    call.known = dense(op, "statistics", statistics, {2, call.lines()}, wide(x));
    call.g = dense(op, "g", g, shape_of_losses(labels, loss), wide(x));
    call.gx = dense(op, "gx", gx, x.shape, x.dtype);
    if (call.size() != 0) kernels_for(x.dtype).cross_entropy_dgrad(call);
}

}  // namespace convgpu::cpu
