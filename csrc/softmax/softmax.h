// The launchers of softmax, log_softmax and cross-entropy with integer labels, and of their gradients.
#pragma once
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::softmax {

void softmax(const Array& x, const Array& y, const Plan& plan, bool log_of, Stream stream);
void softmax_dgrad(const Array& gy, const Array& y, const Array& gx, const Plan& plan, bool log_of, Stream stream);

// y, statistics and g have the dtype of sums.
// labels: uint8, uint16, int32 or int64, one for each line. y: a scalar, or the losses of all lines. statistics: (2,
// lines). flag: one int32, 1 where a label is not in [0, classes), whose loss is then without meaning.
void cross_entropy(const Array& x, const Array& labels, const Array& y, const Array& statistics, const Array& flag,
                   const Plan& plan, double smoothing, Reduction reduction, const Workspace& workspace, Stream stream);
void cross_entropy_dgrad(const Array& x, const Array& labels, const Array& statistics, const Array& g, const Array& gx,
                         const Plan& plan, double smoothing, Reduction reduction, Stream stream);

}  // namespace convgpu::softmax
