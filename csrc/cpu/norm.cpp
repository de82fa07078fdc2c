#include "norm.h"

#include <stdexcept>

#include "../common/check.h"
#include "isa.h"

namespace convgpu::cpu {
namespace {

// A call whose arrays are added one by one, each after its check.
class Builder {
public:
    Builder(const char* op, const Array& x, const NormGeometry& geo, int threads) : op_(op), x_(x) {
        check_float(op, "x", x);
        geo.check();
        if (x.size() != geo.size()) {
            throw std::invalid_argument(std::string(op) + ": expected x of " + std::to_string(geo.size()) +
                                        " elements, got shape " + text_of(x.shape));
        }
        call.outer = geo.outer;
        call.rows = geo.rows;
        call.channels = geo.channels;
        call.inner = geo.inner;
        call.groups = geo.groups;
        call.threads = threads;
        call.x = image("x", &x);
    }

    void* image(const char* name, const Array* array) const { return checked(name, array, x_.shape, x_.dtype); }
    void* parameter(const char* name, const Array* array) const { return small(name, array, {call.channels}); }
    void* small(const char* name, const Array* array, const Shape& shape) const {
        return checked(name, array, shape, x_.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32);
    }
    // The mean as two rows, and rstd.
    void statistics(const Array& mean, const Array& rstd) {
        call.mean = small("mean", &mean, {2, call.outer, call.groups});
        call.rest = static_cast<const char*>(call.mean) + call.outer * call.groups * size_of(mean.dtype);
        call.rstd = small("rstd", &rstd, {call.outer, call.groups});
    }
    const Kernels& kernels() const { return kernels_for(x_.dtype); }

    NormCall call;

private:
    void* checked(const char* name, const Array* array, const Shape& shape, DType dtype) const {
        if (!array) return nullptr;
        check_array(op_, name, *array, shape, dtype);
        if (array->size() > 0 && !is_aligned(array->data, size_of(dtype))) {
            throw std::invalid_argument(std::string(op_) + ": expected " + name + " at a multiple of " +
                                        std::to_string(size_of(dtype)) + " bytes, got another address");
        }
        return array->data;
    }

    const char* op_;
    const Array& x_;
};

}  // namespace

NormActivation norm_activation_of(const std::string& name) {
    if (name.empty()) return NormActivation::kNone;
    if (name == "relu") return NormActivation::kRelu;
    if (name == "relu6") return NormActivation::kRelu6;
    if (name == "silu") return NormActivation::kSilu;
    throw std::invalid_argument("norm activation: expected relu, relu6, silu or nothing, got " + name);
}

void norm_stats(const Array& x, const Array& mean, const Array& rstd, const NormRunning& running,
                const NormGeometry& geo, double epsilon, int threads) {
    Builder builder("norm_stats", x, geo, threads);
    NormCall& call = builder.call;
    call.found_mean = builder.small("mean", &mean, {2, geo.outer, geo.groups});
    call.found_rstd = builder.small("rstd", &rstd, {geo.outer, geo.groups});
    if (running.mean) {
        const Array* const all[] = {running.mean, running.var, running.new_mean, running.new_var};
        for (const Array* array : all) {
            if (!array || geo.outer != 1 || geo.groups != geo.channels) {
                throw std::invalid_argument(
                    "norm_stats: expected running statistics, all four, of one mean for each "
                    "channel, got others");
            }
        }
        call.running_mean = builder.parameter("running_mean", running.mean);
        call.running_var = builder.parameter("running_var", running.var);
        call.new_mean = builder.parameter("new_mean", running.new_mean);
        call.new_var = builder.parameter("new_var", running.new_var);
    }
    call.epsilon = epsilon;
    call.momentum = running.momentum;
    call.correction = running.correction;
    builder.kernels().norm_stats(call);
}

void norm_apply(const Array& x, const Array& mean, const Array& rstd, const Array* scale, const Array* offset,
                const Array* residual, const Array& y, const NormGeometry& geo, NormActivation activation,
                int threads) {
    Builder builder("norm_apply", x, geo, threads);
    NormCall& call = builder.call;
    builder.statistics(mean, rstd);
    call.scale = builder.parameter("scale", scale);
    call.offset = builder.parameter("offset", offset);
    call.residual = builder.image("residual", residual);
    call.y = builder.image("y", &y);
    call.activation = activation;
    builder.kernels().norm_apply(call);
}

void norm_infer(const Array& x, const Array& mean, const Array& var, const Array* scale, const Array* offset,
                const Array* residual, const Array& y, const NormGeometry& geo, NormActivation activation,
                double epsilon, int threads) {
    Builder builder("norm_infer", x, geo, threads);
    NormCall& call = builder.call;
    call.mean = builder.parameter("mean", &mean);
    call.rstd = builder.parameter("var", &var);
    call.scale = builder.parameter("scale", scale);
    call.offset = builder.parameter("offset", offset);
    call.residual = builder.image("residual", residual);
    call.y = builder.image("y", &y);
    call.infers = true;
    call.epsilon = epsilon;
    call.activation = activation;
    builder.kernels().norm_apply(call);
}

void norm_dgrad(const Array& gy, const Array& x, const Array& mean, const Array& rstd, const Array* scale,
                const Array* offset, const Array* y, const NormGradients& results, const NormGeometry& geo,
                NormActivation activation, int threads) {
    Builder builder("norm_dgrad", x, geo, threads);
    NormCall& call = builder.call;
    call.gy = builder.image("gy", &gy);
    builder.statistics(mean, rstd);
    call.scale = builder.parameter("scale", scale);
    call.offset = builder.parameter("offset", offset);
    call.given_y = builder.image("y", y);
    call.gx = builder.image("gx", results.gx);
    call.gscale = builder.parameter("gscale", results.gscale);
    call.goffset = builder.parameter("goffset", results.goffset);
    call.gresidual = builder.image("gresidual", results.gresidual);
    call.activation = activation;
    builder.kernels().norm_dgrad(call);
}

}  // namespace convgpu::cpu
