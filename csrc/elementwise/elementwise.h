// The launchers of the elementwise ops. All arrays of a call have one shape and one floating dtype.
#pragma once
#include "plan.h"

namespace convgpu::elementwise {

void activate(const Array& x, const Array& y, const Plan& plan, const Activated<double>& by, Stream stream);
void activate_dgrad(const Array& gy, const Array& v, const Array& gx, const Plan& plan, const Activated<double>& by,
                    Stream stream);
void add_n(const std::vector<Array>& xs, const Array& y, const Plan& plan, Stream stream);

}  // namespace convgpu::elementwise
