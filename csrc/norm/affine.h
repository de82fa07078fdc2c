// The affine step of normalisation, the activations that may follow it, and their slopes.
#pragma once
#include "../common/accumulate.h"
#include "../common/vector.h"
#include "problem.h"

namespace convgpu::norm {

enum class Activation { kNone, kRelu, kRelu6, kSilu };

inline Activation activation_of(const std::string& name) {
    if (name.empty()) return Activation::kNone;
    if (name == "relu") return Activation::kRelu;
    if (name == "relu6") return Activation::kRelu6;
    if (name == "silu") return Activation::kSilu;
    throw std::invalid_argument("norm activation: expected relu, relu6, silu or nothing, got " + name);
}

// Statistics and parameters as arrays. rest, scale and offset may be null: 0, 1 and 0. If `infers` holds, rstd is a
// variance, and mean and rstd belong to channels.
template <class A>
struct Given {
    const A *mean, *rest, *rstd, *scale, *offset;
    A epsilon = 0;
    bool infers = false;

    __device__ __forceinline__ A rstd_at(int64_t i) const { return infers ? 1 / sqrt(rstd[i] + epsilon) : rstd[i]; }
};

// The affine step of V neighbouring channels: xn * scale + offset = apart(x) * factor + shift. The difference of x and
// the mean is taken of a quarter of both, which changes no digit, so that it cannot overflow.
template <class A, int V>
struct Affine {
    static constexpr A kQuarter = A(0.25);
    A centre[V] = {}, factor[V] = {}, shift[V] = {};

    __device__ __forceinline__ void load(const Given<A>& given, const Problem& p, int64_t o, int channel) {
        if (!given.infers && p.per_group > 1 && p.group_of(channel) == p.group_of(channel + V - 1)) {
            const int64_t i = p.statistic(o, channel);
            const A mean = given.mean[i], rest = given.rest ? given.rest[i] : A(0), rstd = given.rstd_at(i);
#pragma unroll
            for (int v = 0; v < V; ++v) set(v, mean, rest, rstd, given, channel + v);
            return;
        }
#pragma unroll
        for (int v = 0; v < V; ++v) set(v, given, p, o, channel + v);
    }
    __device__ __forceinline__ void set(int v, const Given<A>& given, const Problem& p, int64_t o, int channel) {
        const int64_t i = given.infers ? channel : p.statistic(o, channel);
        set(v, given.mean[i], given.rest ? given.rest[i] : A(0), given.rstd_at(i), given, channel);
    }
    __device__ __forceinline__ void set(int v, A mean, A rest, A rstd, const Given<A>& given, int channel) {
        const A whole = given.scale ? rstd * given.scale[channel] : rstd;
        centre[v] = mean * kQuarter;
        factor[v] = whole / kQuarter;
        shift[v] = (given.offset ? given.offset[channel] : A(0)) - rest * whole;
    }
    __device__ __forceinline__ A apart(int v, A x) const { return x * kQuarter - centre[v]; }
    __device__ __forceinline__ A operator()(int v, A x) const { return apart(v, x) * factor[v] + shift[v]; }
};

template <class A>
__device__ __forceinline__ A sigmoid(A v) {
    return v < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-v));
}

// Beyond this limit the sigmoid is exactly 0 or 1, or below what a factor can show; limiting v avoids 0 * Inf.
template <class A>
__device__ __forceinline__ A limited(A v) {
    constexpr A kLimit = 750;
    return v > kLimit ? kLimit : v < -kLimit ? -kLimit : v;
}

// Applies an activation to all values; NaN stays NaN.
template <class A, int V>
__device__ __forceinline__ void activate(Activation activation, A (&value)[V]) {
    if (activation == Activation::kNone) return;
    if (activation == Activation::kSilu) {
#pragma unroll
        for (int v = 0; v < V; ++v) value[v] = (value[v] < -750 ? A(-750) : value[v]) * sigmoid(value[v]);
        return;
    }
    const bool capped = activation == Activation::kRelu6;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        value[v] = value[v] <= 0 ? A(0) : value[v];
        if (capped) value[v] = value[v] >= 6 ? A(6) : value[v];
    }
}

// Multiplies gradients by the activation's slope at `value`, which for relu and relu6 may be the activation's own
// result. The slope is 0 at a corner, and there the gradient becomes 0 even if it is Inf; at NaN it passes.
template <class A, int V>
__device__ __forceinline__ void times_slope(Activation activation, const A (&value)[V], A (&g)[V]) {
    if (activation == Activation::kNone) return;
    if (activation == Activation::kSilu) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A t = limited(value[v]), s = sigmoid(t);
            g[v] *= s * (1 + t * (1 - s));
        }
        return;
    }
    const bool capped = activation == Activation::kRelu6;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        if (value[v] <= 0 || (capped && value[v] >= 6)) g[v] = 0;
    }
}

}  // namespace convgpu::norm
