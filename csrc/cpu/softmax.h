// Softmax, cross-entropy with integer labels and their gradients, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays lie without gaps; what is
// found of lines, losses and their gradients are in the dtype of sums; labels are uint8, uint16, int32 or int64.
#pragma once
#include "../common/array.h"
#include "calls/softmax.h"

namespace convgpu::cpu {

LossReduction loss_reduction_of(const std::string& name);  // throws std::invalid_argument

void softmax(const Array& x, const Array& y, int64_t axis, bool log_of, int threads);
void softmax_dgrad(const Array& gy, const Array& y, const Array& gx, int64_t axis, bool log_of, int threads);

struct Loss {
    int64_t axis;
    double smoothing;
    LossReduction reduction;
};
void cross_entropy(const Array& x, const Array& labels, const Array& losses, const Array& statistics, const Array& flag,
                   const Loss& loss, int threads);
void cross_entropy_dgrad(const Array& x, const Array& labels, const Array& statistics, const Array& g, const Array& gx,
                         const Loss& loss, int threads);

}  // namespace convgpu::cpu
