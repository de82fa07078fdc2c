#include "conv.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "../common/check.h"
#include "arguments.h"
#include "isa.h"

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
    call.windows = &problem.fprop[0];
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

}  // namespace convgpu::cpu
