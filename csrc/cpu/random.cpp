#include "random.h"

#include "../common/check.h"
#include "../common/error.h"
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

namespace {

DrawCall draw_call(const char* op, const Array& y, const RandomState& state, double first, double second, int threads) {
    check_float(op, "y", y);
    check_array(op, "y", y, y.shape, y.dtype);
    return {y.data, y.size(), state, first, second, threads};
}

}  // namespace

void uniform(const Array& y, const RandomState& state, double low, double span, int threads) {
    kernels_for(y.dtype).uniform(draw_call("uniform", y, state, low, span, threads));
}

void normal(const Array& y, const RandomState& state, double mean, double std, int threads) {
    kernels_for(y.dtype).normal(draw_call("normal", y, state, mean, std, threads));
}

void integers(const Array& y, const RandomState& state, uint64_t low, uint64_t count, int threads) {
    if (y.dtype != DType::kInt32 && y.dtype != DType::kInt64) {
        throw TypeError("integers: expected y of dtype int32 or int64, got " + std::string(name_of(y.dtype)));
    }
    check_array("integers", "y", y, y.shape, y.dtype);
    kernels_for(DType::kFloat32).integers({y.data, y.dtype == DType::kInt64, y.size(), state, low, count, threads});
}

}  // namespace convgpu::cpu
