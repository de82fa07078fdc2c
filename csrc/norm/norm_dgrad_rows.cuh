// The sums that gradients are made of, where channels are neighbours in memory; and the gradient itself (below).
//
// A block owns blockDim.x vectors of channels of one part of the rows of one `outer`; a thread owns V neighbouring
// channels of every blockDim.y-th row of that part. Layouts: [outer][row][channel], and those of gradients.h. Assumes
// that V divides the channels, alignment to a vector of V elements, and that blockDim has powers of 2 whose product is
// kSumThreads. kEachRow says that a row has statistics of its own, as in layer norm: then all rows of all outers count
// as those of one, only parameters have sums, and these are of g * xn. Order: a thread adds its rows in rising order,
// in blocks of 64; the threads' sums are added as a tree. Parts are added by the block that finishes last, in the same
// way.
#pragma once
#include "gradients.h"
#include "norm_apply_rows.cuh"

namespace convgpu::norm {

constexpr int kSumThreads = 256;
constexpr int kBackThreads = 128;
// Rows of which a thread loads everything at once: for the sums, and for the gradient of x.
constexpr int kPlaces = 4, kBackPlaces = 2;

template <class A, int V>
union SumRowsMemory {
    SumMemory<A, V, kSumThreads> rows;
    SumMemory<A, 1, kSumThreads> parts;
};

// Block b takes part b % part_count, of the group of channels with the number b / part_count % columns.
template <class T, int V, bool kEachRow>
__global__ void __launch_bounds__(kSumThreads, 1)
    norm_dgrad_rows(const __grid_constant__ Images<T> images, const __grid_constant__ Given<Accumulator<T>> given,
                    const __grid_constant__ Gradients<Accumulator<T>> gradients,
                    const __grid_constant__ Shares<Accumulator<T>> work, const __grid_constant__ Problem p,
                    Activation activation, int columns) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<SumRowsMemory<A, V>>();
    const int part = static_cast<int>(blockIdx.x % work.part_count);
    const int column = static_cast<int>(blockIdx.x / work.part_count % columns);
    const auto o = static_cast<int64_t>(blockIdx.x / work.part_count / columns);
    const int width = static_cast<int>(blockDim.x) * V, channel = column * width + static_cast<int>(threadIdx.x) * V;
    const int64_t rows = kEachRow ? p.outer * p.rows : p.rows, end = rows * (part + 1) / work.part_count;
    BlockedSum<A, V> one, two;
    if (channel < p.channels) {
        Affine<A, V> affine;
        A rate[V] = {};
        if (!kEachRow) {
            affine.load(given, p, o, channel);
#pragma unroll
            for (int v = 0; v < V; ++v) rate[v] = given.rstd[p.statistic(o, channel + v)] / Affine<A, V>::kQuarter;
        }
        for (int64_t row = rows * part / work.part_count + threadIdx.y; row < end; row += kPlaces * blockDim.y) {
            Loaded<T, V, kPlaces> loaded;
#pragma unroll
            for (int k = 0; k < kPlaces; ++k) {
                const int64_t now = row + k * blockDim.y;
                loaded.ask(k, now < end, images, (o * p.rows + now) * p.channels + channel);
            }
#pragma unroll
            for (int k = 0; k < kPlaces; ++k) {
                const int64_t now = row + k * blockDim.y;
                if (now >= end) break;
                A x[V], g[V];
                if (kEachRow) affine.load(given, p, p.outer_of(now), channel);
                loaded.take(k, images, activation, x, g, affine);
                if (images.g) narrow<V>(g, images.g + (o * p.rows + now) * p.channels + channel);
                one.add_each([&](int v) { return g[v]; });
                if (kEachRow) {
                    Given<A> plain = given;
                    plain.scale = plain.offset = nullptr;
                    affine.load(plain, p, p.outer_of(now), channel);
                    two.add_each([&](int v) { return g[v] * affine(v, x[v]); });
                } else {
                    two.add_each([&](int v) { return g[v] * (affine.apart(v, x[v]) * rate[v]); });
                }
            }
        }
    }
    Sums<A> mine[V];
#pragma unroll
    for (int v = 0; v < V; ++v) mine[v] = {one[v], two[v]};
    add_lanes(shared.rows, mine, static_cast<int>(threadIdx.y), static_cast<int>(blockDim.y),
              static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x));
    const bool writes = threadIdx.y == 0 && channel < p.channels;
    if (!work.parts) {
        if (writes) {
#pragma unroll
            for (int v = 0; v < V; ++v) gradients.put(given, p, channel + v, mine[v]);
        }
        return;
    }
    const int64_t outers = kEachRow ? 1 : p.outer;
    if (writes) {
#pragma unroll
        for (int v = 0; v < V; ++v) work.parts[(part * outers + o) * p.channels + channel + v] = mine[v];
    }
    if (kEachRow || (p.outer == 1 && p.per_group == 1)) {
        if (work.part_count == 1) {
            __syncthreads();  // there are counters for a few thousand columns only, and this column has no other block
        } else if (!arrives_last(work.counters + column, static_cast<uint32_t>(work.part_count))) {
            return;
        }
        const int first = column * width;
        if constexpr (kEachRow) return finish_parameters(shared.parts, work, gradients, p, first, width);
        return finish(shared.parts, work, gradients, given, p, first, min(width, p.channels - first));
    }
    if (arrives_last(work.counters, gridDim.x)) finish(shared.parts, work, gradients, given, p, 0, p.channels);
}

template <class T, int V, bool kEachRow>
void launch_norm_dgrad_rows(const Images<T>& images, const Given<Accumulator<T>>& given,
                            const Gradients<Accumulator<T>>& gradients, const Shares<Accumulator<T>>& work,
                            const Problem& p, Activation activation, int lanes, Stream stream) {
    const int columns = (p.channels + lanes * V - 1) / (lanes * V);
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((kEachRow ? 1 : p.outer) * columns * work.part_count));
    shape.block = dim3(lanes, kSumThreads / lanes);
    shape.shared_bytes = sizeof(SumRowsMemory<Accumulator<T>, V>);
    launch(norm_dgrad_rows<T, V, kEachRow>, shape, stream, images, given, gradients, work, p, activation, columns);
}

// The gradient of x, and that of the residual. Blocks own what they own in norm_apply_rows, and have kBackThreads
// threads. `m1` is null where only the residual's gradient is wanted.
template <class T, int V>
__global__ void __launch_bounds__(kBackThreads, 3)
    norm_dgrad_apply_rows(const __grid_constant__ Images<T> images, const __grid_constant__ Given<Accumulator<T>> given,
                          const Accumulator<T>* __restrict__ m1, const Accumulator<T>* __restrict__ m2,
                          const __grid_constant__ Problem p, Activation activation, int columns) {
    using A = Accumulator<T>;
    const int column = static_cast<int>(blockIdx.x % columns);
    const int channel = (column * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * V;
    if (channel >= p.channels) return;
    const int64_t first = static_cast<int64_t>(blockIdx.x / columns) * blockDim.y * kRowsOfThread + threadIdx.y;
    int64_t o = -1;
    Affine<A, V> affine;
    Back<A, V> back;
    for (int begin = 0; begin < kRowsOfThread; begin += kBackPlaces) {
        Loaded<T, V, kBackPlaces> loaded;
#pragma unroll
        for (int k = 0; k < kBackPlaces; ++k) {
            const int64_t row = first + int64_t(begin + k) * blockDim.y;
            loaded.ask(k, row < p.outer * p.rows, images, row * p.channels + channel);
        }
#pragma unroll
        for (int k = 0; k < kBackPlaces; ++k) {
            const int64_t row = first + int64_t(begin + k) * blockDim.y;
            if (row >= p.outer * p.rows) return;
            if (const int64_t now = p.outer_of(row); now != o) {
                o = now;
                if (activation != Activation::kNone && !images.y) affine.load(given, p, o, channel);
                if (m1) {
#pragma unroll
                    for (int v = 0; v < V; ++v) back.set(v, given, p, m1, m2, o, channel + v);
                }
            }
            A x[V], g[V];
            loaded.take(k, images, activation, x, g, affine);
            if (images.g) narrow<V>(g, images.g + row * p.channels + channel);
            if (!m1) continue;
#pragma unroll
            for (int v = 0; v < V; ++v) g[v] = back(v, g[v], x[v]);
            narrow<V>(g, images.gx + row * p.channels + channel);
        }
    }
}

template <class T, int V>
void launch_norm_dgrad_apply_rows(const Images<T>& images, const Given<Accumulator<T>>& given, const Accumulator<T>* m1,
                                  const Accumulator<T>* m2, const Problem& p, Activation activation, int lanes,
                                  Stream stream) {
    const int columns = (p.channels + lanes * V - 1) / (lanes * V);
    const int64_t rows = int64_t(kBackThreads / lanes) * kRowsOfThread;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((p.outer * p.rows + rows - 1) / rows * columns));
    shape.block = dim3(lanes, kBackThreads / lanes);
    launch(norm_dgrad_apply_rows<T, V>, shape, stream, images, given, m1, m2, p, activation, columns);
}

}  // namespace convgpu::norm
