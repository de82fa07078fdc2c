#include "pool.h"

#include "../common/check.h"
#include "arguments.h"
#include "isa.h"

namespace convgpu::cpu {
namespace {

PoolCall pool_call(const PoolGeometry& geo, int threads) {
    PoolCall call;
    call.work = static_cast<double>(geo.batch) * geo.channels;
    for (int a = 0; a < geo.rank(); ++a) {
        call.axis[kAxes - geo.rank() + a] = {geo.size[a],  geo.window[a],   geo.stride[a], geo.before[a],
                                             geo.after[a], geo.dilation[a], geo.output[a], geo.adaptive};
        call.work *= static_cast<double>(geo.output[a]) * geo.window[a];
    }
    call.count_include_pad = geo.count_include_pad;
    call.threads = threads;
    return call;
}

Images input(const char* op, const char* name, const Array& array, const PoolGeometry& geo, DType dtype) {
    check_view(op, name, array, geo.x_shape(), dtype);
    return images_of(array, geo.channels_last);
}
Images output(const char* op, const char* name, const Array& array, const PoolGeometry& geo, DType dtype) {
    check_view(op, name, array, geo.y_shape(), dtype);
    return images_of(array, geo.channels_last);
}
void set_offsets(PoolCall& call, const char* op, const Array& offsets, const PoolGeometry& geo) {
    call.offset_view = output(op, "offsets", offsets, geo, geo.offset_dtype());
    call.offset_bytes = static_cast<int>(size_of(geo.offset_dtype()));
}

}  // namespace

void max_pool(const Array& x, const Array& y, const Array* offsets, const PoolGeometry& geo, int threads) {
    check_float("max_pool", "x", x);
    PoolCall call = pool_call(geo, threads);
    call.x = input("max_pool", "x", x, geo, x.dtype);
    call.y = output("max_pool", "y", y, geo, x.dtype);
    if (offsets) set_offsets(call, "max_pool", *offsets, geo);
    if (y.size() != 0) kernels_for(x.dtype).max_pool(call);
}

void max_pool_dgrad(const Array& gy, const Array& offsets, const Array& gx, const PoolGeometry& geo, int threads) {
    check_float("max_pool_dgrad", "gy", gy);
    PoolCall call = pool_call(geo, threads);
    call.gy = output("max_pool_dgrad", "gy", gy, geo, gy.dtype);
    call.gx = input("max_pool_dgrad", "gx", gx, geo, gy.dtype);
    set_offsets(call, "max_pool_dgrad", offsets, geo);
    if (gx.size() != 0) kernels_for(gy.dtype).max_pool_dgrad(call);
}

void max_pool_gather(const Array& x, const Array& offsets, const Array& y, const PoolGeometry& geo, int threads) {
    check_float("max_pool_gather", "x", x);
    PoolCall call = pool_call(geo, threads);
    call.x = input("max_pool_gather", "x", x, geo, x.dtype);
    call.y = output("max_pool_gather", "y", y, geo, x.dtype);
    set_offsets(call, "max_pool_gather", offsets, geo);
    if (y.size() != 0) kernels_for(x.dtype).max_pool_gather(call);
}

void avg_pool(const Array& x, const Array& y, const PoolGeometry& geo, int threads) {
    check_float("avg_pool", "x", x);
    PoolCall call = pool_call(geo, threads);
    call.x = input("avg_pool", "x", x, geo, x.dtype);
    call.y = output("avg_pool", "y", y, geo, x.dtype);
    if (y.size() != 0) kernels_for(x.dtype).avg_pool(call);
}

void avg_pool_dgrad(const Array& gy, const Array& gx, const PoolGeometry& geo, int threads) {
    check_float("avg_pool_dgrad", "gy", gy);
    PoolCall call = pool_call(geo, threads);
    call.gy = output("avg_pool_dgrad", "gy", gy, geo, gy.dtype);
    call.gx = input("avg_pool_dgrad", "gx", gx, geo, gy.dtype);
    if (gx.size() != 0) kernels_for(gy.dtype).avg_pool_dgrad(call);
}

void lp_pool(const Array& x, const Array& y, const PoolGeometry& geo, double norm_type, int threads) {
    check_float("lp_pool", "x", x);
    PoolCall call = pool_call(geo, threads);
    call.x = input("lp_pool", "x", x, geo, x.dtype);
    call.y = output("lp_pool", "y", y, geo, x.dtype);
    call.power = norm_type;
    if (y.size() != 0) kernels_for(x.dtype).lp_pool(call);
}

void lp_pool_dgrad(const Array& gy, const Array& x, const Array& y, const Array& gx, const PoolGeometry& geo,
                   double power, bool with_sign, int threads) {
    check_float("lp_pool_dgrad", "gy", gy);
    PoolCall call = pool_call(geo, threads);
    call.gy = output("lp_pool_dgrad", "gy", gy, geo, gy.dtype);
    call.x = input("lp_pool_dgrad", "x", x, geo, gy.dtype);
    call.y = output("lp_pool_dgrad", "y", y, geo, gy.dtype);
    call.gx = input("lp_pool_dgrad", "gx", gx, geo, gy.dtype);
    call.power = power;
    call.with_sign = with_sign;
    if (gx.size() != 0) kernels_for(gy.dtype).lp_pool_dgrad(call);
}

void lp_pool_gather(const Array& v, const Array& x, const Array& y, const Array& z, const PoolGeometry& geo,
                    double power, bool with_sign, int threads) {
    check_float("lp_pool_gather", "v", v);
    PoolCall call = pool_call(geo, threads);
    call.v = input("lp_pool_gather", "v", v, geo, v.dtype);
    call.x = input("lp_pool_gather", "x", x, geo, v.dtype);
    call.y = output("lp_pool_gather", "y", y, geo, v.dtype);
    call.z = output("lp_pool_gather", "z", z, geo, v.dtype);
    call.power = power;
    call.with_sign = with_sign;
    if (z.size() != 0) kernels_for(v.dtype).lp_pool_gather(call);
}

}  // namespace convgpu::cpu
