// The sums that all gradients of a normalisation are made of, and what becomes of them.
//
// Of each channel of each `outer`, with g the gradient before the activation: one = the sum of g, and two = the sum of
// g * (x - mean) * rstd with the first part of the mean, of which the sum of g * xn is made. These give gscale and
// goffset, and the two means that the gradient of x subtracts: m1 of scale * g and m2 of scale * g * xn, over the
// elements that share a mean.
#pragma once
#include "../common/last_block.h"
#include "affine.h"

namespace convgpu::norm {

template <class A>
struct Sums {
    A one, two;
};

template <class A>
struct Gradients {
    A *gscale, *goffset;  // [channel], or null
    A *m1, *m2;           // [outer][group], or null
    A count;              // elements that share a mean

    // The sum of g * xn of a channel.
    __device__ __forceinline__ A of_xn(const Given<A>& given, const Problem& p, int64_t o, int channel,
                                       const Sums<A>& sums) const {
        const int64_t i = p.statistic(o, channel);
        return sums.two - given.rest[i] * given.rstd[i] * sums.one;
    }

    // Writes what follows from the sums of one channel, which is the only one of its group; there is one `outer`.
    __device__ __forceinline__ void put(const Given<A>& given, const Problem& p, int channel,
                                        const Sums<A>& sums) const {
        const A xn = of_xn(given, p, 0, channel, sums), scale = given.scale ? given.scale[channel] : A(1);
        if (gscale) gscale[channel] = xn;
        if (goffset) goffset[channel] = sums.one;
        if (m1) {
            m1[channel] = scale * sums.one / count;
            m2[channel] = scale * xn / count;
        }
    }
};

// Adds up the sums of the threads of a block that share a channel, as a tree, the upper half to the lower. Afterwards
// lane 0 has the total. The roles of threads are those of merge_lanes in moments.h.
template <class A, int V, int kThreads>
struct SumMemory {
    Sums<A> at[V][kThreads / 2];
};

template <class A, int V, int kThreads>
__device__ __forceinline__ void add_lanes(SumMemory<A, V, kThreads>& shared, Sums<A> (&mine)[V], int lane, int lanes,
                                          int team, int teams) {
    for (int half = lanes / 2; half > 0; half /= 2) {
        const int at = lane % half * teams + team;
        if (lane >= half && lane < 2 * half) {
#pragma unroll
            for (int v = 0; v < V; ++v) shared.at[v][at] = mine[v];
        }
        __syncthreads();
        if (lane < half) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                mine[v].one += shared.at[v][at].one;
                mine[v].two += shared.at[v][at].two;
            }
        }
        __syncthreads();
    }
}

// Where the blocks leave their sums, parts[part][outer][channel], and where the last one puts their totals.
template <class A>
struct Shares {
    Sums<A>* parts;  // null where every block finishes its own channels
    Sums<A>* totals;
    uint32_t* counters;
    int part_count;
};

// Adds up the parts of channels [first, first + many) of all outers, with all threads of a block, and writes what
// follows from them.
template <class A, int kThreads>
__device__ __forceinline__ void finish(SumMemory<A, 1, kThreads>& shared, const Shares<A>& work,
                                       const Gradients<A>& gradients, const Given<A>& given, const Problem& p,
                                       int first, int many) {
    const int me = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    const bool one_each = p.outer == 1 && p.per_group == 1;
    const int64_t all = p.outer * many;
    int lanes = 1;
    while (lanes * 2 * all <= kThreads && lanes < work.part_count) lanes *= 2;
    const int teams = kThreads / lanes, lane = me / teams, team = me % teams;
    for (int64_t begin = 0; begin < all; begin += teams) {
        const int64_t i = begin + team, o = i / many;
        const int channel = first + static_cast<int>(i % many);
        BlockedSum<A, 2> sum;
        if (i < all) {
#pragma unroll 8
            for (int part = lane; part < work.part_count; part += lanes) {
                const Sums<A> more = work.parts[(part * p.outer + o) * p.channels + channel];
                sum.add_each([&](int v) { return v == 0 ? more.one : more.two; });
            }
        }
        Sums<A> total[1] = {{sum[0], sum[1]}};
        add_lanes(shared, total, lane, lanes, team, teams);
        if (i >= all || lane > 0) continue;
        if (one_each) {
            gradients.put(given, p, channel, total[0]);
        } else {
            work.totals[o * p.channels + channel] = total[0];
        }
    }
    if (one_each) return;
    __syncthreads();
    for (int channel = first + me; channel < first + many; channel += kThreads) {
        BlockedSum<A, 2> sum;
        for (int64_t o = 0; o < p.outer; ++o) {
            const Sums<A> total = work.totals[o * p.channels + channel];
            const A xn = gradients.of_xn(given, p, o, channel, total);
            sum.add_each([&](int v) { return v == 0 ? total.one : xn; });
        }
        if (gradients.goffset) gradients.goffset[channel] = sum[0];
        if (gradients.gscale) gradients.gscale[channel] = sum[1];
    }
    if (!gradients.m1) return;
    for (int64_t i = me; i < p.outer * p.groups; i += kThreads) {
        const int64_t o = i / p.groups, channels = i % p.groups * p.per_group;
        BlockedSum<A, 2> sum;
        for (int k = 0; k < p.per_group; ++k) {
            const int channel = static_cast<int>(channels) + k;
            const Sums<A> total = work.totals[o * p.channels + channel];
            const A scale = given.scale ? given.scale[channel] : A(1);
            const A xn = gradients.of_xn(given, p, o, channel, total);
            sum.add_each([&](int v) { return scale * (v == 0 ? total.one : xn); });
        }
        gradients.m1[i] = sum[0] / gradients.count;
        gradients.m2[i] = sum[1] / gradients.count;
    }
}

// Adds up the parts of channels [first, first + width), whose sums are those of g and of g * xn over all outers.
template <class A, int kThreads>
__device__ __forceinline__ void finish_parameters(SumMemory<A, 1, kThreads>& shared, const Shares<A>& work,
                                                  const Gradients<A>& gradients, const Problem& p, int first,
                                                  int width) {
    const int many = min(width, p.channels - first), me = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    int lanes = 1;
    while (lanes * 2 * many <= kThreads && lanes < work.part_count) lanes *= 2;
    const int teams = kThreads / lanes, lane = me / teams, team = me % teams;
    for (int begin = 0; begin < many; begin += teams) {
        const int channel = first + begin + team;
        BlockedSum<A, 2> sum;
        if (begin + team < many) {
#pragma unroll 8
            for (int part = lane; part < work.part_count; part += lanes) {
                const Sums<A> more = work.parts[int64_t(part) * p.channels + channel];
                sum.add_each([&](int v) { return v == 0 ? more.one : more.two; });
            }
        }
        Sums<A> total[1] = {{sum[0], sum[1]}};
        add_lanes(shared, total, lane, lanes, team, teams);
        if (begin + team >= many || lane > 0) continue;
        if (gradients.goffset) gradients.goffset[channel] = total[0].one;
        if (gradients.gscale) gradients.gscale[channel] = total[0].two;
    }
}

// The gradient of x of V neighbouring channels: (g * scale - m1 - xn * m2) * rstd, xn being (x - mean) * rstd.
template <class A, int V>
struct Back {
    A centre[V] = {}, scale[V] = {}, less[V] = {}, slope[V] = {}, rstd[V] = {};

    __device__ __forceinline__ void set(int v, const Given<A>& given, const Problem& p, const A* m1, const A* m2,
                                        int64_t o, int channel) {
        const int64_t i = p.statistic(o, channel);
        rstd[v] = given.rstd[i];
        centre[v] = given.mean[i] * Affine<A, 1>::kQuarter;
        scale[v] = given.scale ? given.scale[channel] : A(1);
        less[v] = m1[i] - given.rest[i] * rstd[v] * m2[i];
        slope[v] = rstd[v] / Affine<A, 1>::kQuarter * m2[i];
    }
    __device__ __forceinline__ A operator()(int v, A g, A x) const {
        return ((g * scale[v] - less[v]) - (x * Affine<A, 1>::kQuarter - centre[v]) * slope[v]) * rstd[v];
    }
};

// Arrays of x's size. y is null where there was no residual, or nothing follows it. g is the gradient before the
// activation, and null where it is not wanted or is known: then `activation` is none, and gy is that gradient.
template <class T>
struct Images {
    const T *gy, *x, *y;
    T *gx, *g;
};

template <int V, class T>
__device__ __forceinline__ void narrow(const Accumulator<T> (&from)[V], T* p) {
    Vector<T, V> to;
#pragma unroll
    for (int v = 0; v < V; ++v) to.at[v] = static_cast<T>(from[v]);
    store(p, to);
}

// What is loaded of several places. All loads are asked for before the first is used, so that they are under way at
// once.
template <class T, int V, int kPlaces>
struct Loaded {
    using A = Accumulator<T>;
    Vector<T, V> gy[kPlaces], x[kPlaces], y[kPlaces];

    __device__ __forceinline__ void ask(int k, bool inside, const Images<T>& images, int64_t at) {
        const T zero = static_cast<T>(0.0f);
        gy[k] = load_if<V>(inside, images.gy + at, zero);
        x[k] = load_if<V>(inside, images.x + at, zero);
        if (images.y) y[k] = load_if<V>(inside, images.y + at, zero);
    }

    // Sets `at_x` to the elements of a place, and g to their gradients before the activation. before(v, x) is the value
    // before it, which y stands for where there is one.
    template <class Before>
    __device__ __forceinline__ void take(int k, const Images<T>& images, Activation activation, A (&at_x)[V], A (&g)[V],
                                         Before before) const {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            at_x[v] = static_cast<A>(x[k].at[v]);
            g[v] = static_cast<A>(gy[k].at[v]);
        }
        if (activation == Activation::kNone) return;
        A value[V];
#pragma unroll
        for (int v = 0; v < V; ++v) value[v] = images.y ? static_cast<A>(y[k].at[v]) : before(v, at_x[v]);
        times_slope(activation, value, g);
    }
};

}  // namespace convgpu::norm
