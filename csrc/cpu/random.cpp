#include "random.h"

#include "../common/check.h"
#include "isa.h"

namespace convgpu::cpu {

void dropout(const Array& x, const Array& y, const RandomState& state, uint32_t threshold, double scale, int threads) {
    check_float("dropout", "x", x);
    check_array("dropout", "x", x, x.shape, x.dtype);
    check_array("dropout", "y", y, x.shape, x.dtype);
    DropoutCall call;
    call.x = x.data;
    call.y = y.data;
    call.size = x.size();
    call.state = state;
    call.threshold = threshold;
    call.scale = scale;
    call.threads = threads;
    kernels_for(x.dtype).dropout(call);
}

}  // namespace convgpu::cpu
