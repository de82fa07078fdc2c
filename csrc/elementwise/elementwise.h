// The launchers of the elementwise ops. All arrays of a call have one floating dtype and, but for `binary`, one shape.
#pragma once
#include "binary_plan.h"
#include "plan.h"

namespace convgpu::elementwise {

void activate(const Array& x, const Array& y, const Plan& plan, const Activated<double>& by, Stream stream);
void activate_dgrad(const Array& gy, const Array& v, const Array& gx, const Plan& plan, const Activated<double>& by,
                    Stream stream);
void add_n(const std::vector<Array>& xs, const Array& y, const Plan& plan, Stream stream);

// y = function(a, b), where a and b broadcast. Without b, `number` takes its place, rounded to the arrays' dtype.
void binary(const Array& a, const Array* b, const Array& y, const BinaryPlan& plan, BinaryFunction function,
            double number, Stream stream);

}  // namespace convgpu::elementwise
