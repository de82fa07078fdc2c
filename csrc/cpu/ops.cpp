#include "ops.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "../common/check.h"
#include "../common/error.h"
#include "arguments.h"
#include "isa.h"
#include "threads.h"

namespace convgpu::cpu {
namespace {

void check_bias(const char* op, const Array* bias, int64_t channels, DType dtype) {
    if (!bias) return;
    check_view(op, "bias", *bias, {channels}, dtype);
    if (channels > 1 && bias->strides[0] != static_cast<int64_t>(size_of(dtype))) {
        throw std::invalid_argument(std::string(op) + ": expected a bias without gaps, got a stride of " +
                                    std::to_string(bias->strides[0]) + " bytes");
    }
}

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

ConvProblem::ConvProblem(ConvGeometry geometry)
    : geo(std::move(geometry)), fprop(fprop_gathers(geo)), dgrad(dgrad_gathers(geo)) {}

void conv_fprop(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvProblem& problem,
                Activation activation, int threads) {
    const ConvGeometry& geo = problem.geo;
    check_float("conv_fprop", "x", x);
    check_view("conv_fprop", "x", x, geo.x_shape(), x.dtype);
    check_view("conv_fprop", "w", w, geo.w_shape(), x.dtype);
    check_view("conv_fprop", "y", y, geo.y_shape(), x.dtype);
    check_bias("conv_fprop", bias, geo.filters, x.dtype);
    ConvCall call;
    call.x = images_of(x, geo.channels_last);
    call.y = images_of(y, geo.channels_last);
    call.w = filters_of(w, geo.channels_last);
    call.bias = bias ? bias->data : nullptr;
    call.gathers = &problem.fprop;
    call.groups = geo.groups;
    call.reads = geo.channels / geo.groups;
    call.makes = geo.filters / geo.groups;
    call.step_group = call.makes * call.w.step_k;
    call.activation = activation;
    call.threads = threads;
    kernels_for(x.dtype).convolve(call);
}

void conv_dgrad(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvProblem& problem,
                Activation activation, int threads) {
    const ConvGeometry& geo = problem.geo;
    check_float("conv_dgrad", "gy", gy);
    check_view("conv_dgrad", "gy", gy, geo.y_shape(), gy.dtype);
    check_view("conv_dgrad", "w", w, geo.w_shape(), gy.dtype);
    check_view("conv_dgrad", "gx", gx, geo.x_shape(), gy.dtype);
    check_bias("conv_dgrad", bias, geo.channels, gy.dtype);
    ConvCall call;
    call.x = images_of(gy, geo.channels_last);
    call.y = images_of(gx, geo.channels_last);
    call.w = filters_of(w, geo.channels_last);
    call.bias = bias ? bias->data : nullptr;
    call.gathers = &problem.dgrad;
    call.groups = geo.groups;
    call.reads = geo.filters / geo.groups;
    call.makes = geo.channels / geo.groups;
    call.step_group = call.reads * call.w.step_k;
    std::swap(call.w.step_c, call.w.step_k);
    call.activation = activation;
    call.threads = threads;
    kernels_for(gy.dtype).convolve(call);
}

void conv_wgrad(const Array& x, const Array& gy, const Array& gw, const ConvProblem& problem, int threads) {
    const ConvGeometry& geo = problem.geo;
    check_float("conv_wgrad", "x", x);
    check_view("conv_wgrad", "x", x, geo.x_shape(), x.dtype);
    check_view("conv_wgrad", "gy", gy, geo.y_shape(), x.dtype);
    check_view("conv_wgrad", "gw", gw, geo.w_shape(), x.dtype);
    if (gw.size() == 0) return;
    if (gy.size() == 0) {  // a sum without terms
        if (gw.strides.back() != static_cast<int64_t>(size_of(gw.dtype)) && gw.shape.back() > 1) {
            throw std::invalid_argument("conv_wgrad: expected gw without gaps");
        }
        std::memset(gw.data, 0, gw.size() * size_of(gw.dtype));
        return;
    }
    WgradCall call;
    call.x = images_of(x, geo.channels_last);
    call.gy = images_of(gy, geo.channels_last);
    call.gw = filters_of(gw, geo.channels_last);
    call.gather = &problem.fprop[0];
    call.groups = geo.groups;
    call.channels = geo.channels / geo.groups;
    call.filters = geo.filters / geo.groups;
    call.step_group = call.filters * call.gw.step_k;
    call.threads = threads;
    kernels_for(x.dtype).conv_wgrad(call);
}

void channel_sum(const Array& gy, const Array& gb, bool channels_last, int threads) {
    check_float("channel_sum", "gy", gy);
    if (gy.shape.size() < 2 || gy.shape.size() > 5) {
        throw std::invalid_argument("channel_sum: expected gy of 2 to 5 axes, got shape " + text_of(gy.shape));
    }
    check_view("channel_sum", "gy", gy, gy.shape, gy.dtype);
    check_view("channel_sum", "gb", gb, {gy.shape[channels_last ? gy.shape.size() - 1 : 1]}, gy.dtype);
    SumCall call;
    call.gy = images_of(gy, channels_last);
    // Rows of pixels that follow each other without a gap are one long row.
    Images& all = call.gy;
    int64_t* const outer_size[] = {&all.size[1], &all.size[0], &all.batch};
    const int64_t outer_step[] = {all.step[1], all.step[0], all.step_n};
    for (int a = 0; a < kAxes; ++a) {
        int64_t& size = *outer_size[a];
        if (all.size[2] != 1 && size != 1 && outer_step[a] != all.size[2] * all.step[2]) break;
        if (all.size[2] == 1) all.step[2] = outer_step[a];
        all.size[2] *= size;
        size = 1;
    }
    call.gb = gb.data;
    call.threads = threads;
    kernels_for(gy.dtype).channel_sum(call);
}

void gemm(const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta,
          Activation activation, int threads) {
    check_float("gemm", "a", a);
    if (a.shape.size() != 3 || b.shape.size() != 3) {
        throw std::invalid_argument("gemm: expected stacks of matrices, got shapes " + text_of(a.shape) + " and " +
                                    text_of(b.shape));
    }
    GemmCall call;
    call.items = a.shape[0];
    call.M = a.shape[1];
    call.K = a.shape[2];
    call.N = b.shape[2];
    check_view("gemm", "a", a, a.shape, a.dtype);
    check_view("gemm", "b", b, {call.items, call.K, call.N}, a.dtype);
    check_view("gemm", "y", y, {call.items, call.M, call.N}, a.dtype);
    if (y.size() != 0 && call.N > 1 && y.strides[2] != static_cast<int64_t>(size_of(y.dtype))) {
        throw std::invalid_argument("gemm: expected y with rows without gaps, got strides " + text_of(y.strides));
    }
    if (c) {
        check_view("gemm", "c", *c, y.shape, a.dtype);
        call.c = matrices_of(*c);
    }
    call.a = matrices_of(a);
    call.b = matrices_of(b);
    call.y = matrices_of(y);
    call.alpha = alpha;
    call.beta = beta;
    call.activation = activation;
    call.threads = threads;
    kernels_for(a.dtype).gemm(call);
}

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
