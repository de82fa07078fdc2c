// The sums that gradients are made of, where the elements of one channel are neighbours in memory; and the gradient.
//
// A block owns blockDim.y channels of one or more `outer`, or one part of one; a thread owns every blockDim.x-th vector
// of V neighbouring elements of its channel. Layouts: [outer][row][channel][inner], and those of gradients.h. Assumes
// that V divides `inner`, alignment to a vector, that blockDim has powers of 2 whose product is kPlaneThreads, and that
// blockDim.y is 1 where there are several parts. Order: a thread adds the elements of a vector, and its vectors in
// rising order, in blocks of 64; the threads' sums are added as a tree. Parts are added by the block that finishes
// last.
#pragma once
#include "gradients.h"
#include "norm_apply_planes.cuh"

namespace convgpu::norm {

constexpr int kPlaneThreads = 256;
constexpr int kVectorsAtOnce = 2;  // vectors of each array that a thread loads at once

// Block b takes part b % part_count of the channels b / part_count * blockDim.y + threadIdx.y, counted over all outers.
template <class T, int V>
__global__ void __launch_bounds__(kPlaneThreads, 2)
    norm_dgrad_planes(const __grid_constant__ Images<T> images, const __grid_constant__ Given<Accumulator<T>> given,
                      const __grid_constant__ Gradients<Accumulator<T>> gradients,
                      const __grid_constant__ Shares<Accumulator<T>> work, const __grid_constant__ Problem p,
                      Activation activation, const __grid_constant__ Divisor by_vectors) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<SumMemory<A, 1, kPlaneThreads>>();
    const int part = static_cast<int>(blockIdx.x % work.part_count), lane = static_cast<int>(threadIdx.x);
    const int64_t i = static_cast<int64_t>(blockIdx.x / work.part_count) * blockDim.y + threadIdx.y;
    const int64_t all = p.rows * (p.inner / V), end = all * (part + 1) / work.part_count;
    const int64_t o = i / p.channels;
    const int channel = static_cast<int>(i % p.channels);
    const bool works = i < p.outer * p.channels;
    BlockedSum<A, 2> sum;
    if (works) {
        Affine<A, 1> affine;
        affine.set(0, given, p, o, channel);
        const A rate = given.rstd[p.statistic(o, channel)] / Affine<A, 1>::kQuarter;
        const auto place = [&](int64_t k) {
            auto row = static_cast<uint64_t>(k);
            const auto vector = static_cast<int64_t>(by_vectors.split(row));
            return ((o * p.rows + static_cast<int64_t>(row)) * p.channels + channel) * p.inner + vector * V;
        };
        for (int64_t first = all * part / work.part_count + lane; first < end; first += kVectorsAtOnce * blockDim.x) {
            Loaded<T, V, kVectorsAtOnce> loaded;
            int64_t at[kVectorsAtOnce];
#pragma unroll
            for (int k = 0; k < kVectorsAtOnce; ++k) {
                at[k] = place(first + k * blockDim.x);
                loaded.ask(k, first + k * blockDim.x < end, images, at[k]);
            }
#pragma unroll
            for (int k = 0; k < kVectorsAtOnce; ++k) {
                if (first + k * blockDim.x >= end) break;
                A x[V], g[V], one = 0, two = 0;
                loaded.take(k, images, activation, x, g, [&](int, A value) { return affine(0, value); });
                if (images.g) narrow<V>(g, images.g + at[k]);
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    one += g[v];
                    two += g[v] * (affine.apart(0, x[v]) * rate);
                }
                sum.add_each([&](int v) { return v == 0 ? one : two; });
            }
        }
    }
    Sums<A> mine[1] = {{sum[0], sum[1]}};
    add_lanes(shared, mine, lane, static_cast<int>(blockDim.x), static_cast<int>(threadIdx.y),
              static_cast<int>(blockDim.y));
    if (works && lane == 0) {
        if (!work.parts) return gradients.put(given, p, channel, mine[0]);
        work.parts[(part * p.outer + o) * p.channels + channel] = mine[0];
    }
    if (!work.parts) return;
    if (p.outer == 1 && p.per_group == 1) {
        if (!arrives_last(work.counters + channel, static_cast<uint32_t>(work.part_count))) return;
        return finish(shared, work, gradients, given, p, channel, 1);
    }
    if (arrives_last(work.counters, gridDim.x)) finish(shared, work, gradients, given, p, 0, p.channels);
}

template <class T, int V>
void launch_norm_dgrad_planes(const Images<T>& images, const Given<Accumulator<T>>& given,
                              const Gradients<Accumulator<T>>& gradients, const Shares<Accumulator<T>>& work,
                              const Problem& p, Activation activation, int lanes, Stream stream) {
    const int teams = kPlaneThreads / lanes;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((p.outer * p.channels + teams - 1) / teams * work.part_count));
    shape.block = dim3(lanes, teams);
    shape.shared_bytes = sizeof(SumMemory<Accumulator<T>, 1, kPlaneThreads>);
    launch(norm_dgrad_planes<T, V>, shape, stream, images, given, gradients, work, p, activation,
           Divisor(static_cast<uint64_t>(p.inner / V)));
}

// The gradient of x, and that of the residual. Blocks and threads own what they own in norm_apply_planes.
template <class T, int V>
__global__ void __launch_bounds__(kApplyThreads, 3)
    norm_dgrad_apply_planes(const __grid_constant__ Images<T> images,
                            const __grid_constant__ Given<Accumulator<T>> given, const Accumulator<T>* __restrict__ m1,
                            const Accumulator<T>* __restrict__ m2, const __grid_constant__ Problem p,
                            Activation activation, const __grid_constant__ Places places) {
    using A = Accumulator<T>;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kVectorsOfThread * kApplyThreads + threadIdx.x;
    for (int begin = 0; begin < kVectorsOfThread; begin += kVectorsAtOnce) {
        Loaded<T, V, kVectorsAtOnce> loaded;
#pragma unroll
        for (int k = 0; k < kVectorsAtOnce; ++k) {
            const int64_t i = first + int64_t(begin + k) * kApplyThreads;
            loaded.ask(k, i < places.count, images, i * V);
        }
#pragma unroll
        for (int k = 0; k < kVectorsAtOnce; ++k) {
            const int64_t i = first + int64_t(begin + k) * kApplyThreads;
            if (i >= places.count) return;
            int64_t o;
            int channel;
            places.find(i, p, o, channel);
            Affine<A, 1> affine;
            if (activation != Activation::kNone && !images.y) affine.set(0, given, p, o, channel);
            A x[V], g[V];
            loaded.take(k, images, activation, x, g, [&](int, A value) { return affine(0, value); });
            if (images.g) narrow<V>(g, images.g + i * V);
            if (!m1) continue;
            Back<A, 1> back;
            back.set(0, given, p, m1, m2, o, channel);
#pragma unroll
            for (int v = 0; v < V; ++v) g[v] = back(0, g[v], x[v]);
            narrow<V>(g, images.gx + i * V);
        }
    }
}

template <class T, int V>
void launch_norm_dgrad_apply_planes(const Images<T>& images, const Given<Accumulator<T>>& given,
                                    const Accumulator<T>* m1, const Accumulator<T>* m2, const Problem& p,
                                    Activation activation, Stream stream) {
    const Places places = places_of(p, V);
    launch(norm_dgrad_apply_planes<T, V>, shape_of(places), stream, images, given, m1, m2, p, activation, places);
}

}  // namespace convgpu::norm
