// Mean and variance where channels are neighbours in memory: batch norm in channels_last, and group norm of few
// channels.
//
// A block owns blockDim.x vectors of channels of one part of the rows of one `outer`. A thread owns V neighbouring
// channels of every blockDim.y-th row of that part. Layouts: x[outer][row][channel], and parts[part][outer][channel].
// Assumes that V divides the channels, alignment to a vector of V elements, and that blockDim has powers of 2 whose
// product is kThreads. Order: a thread merges its rows in rising order, in chunks of 8 (moments.h); the threads'
// moments are merged as a tree. Where there are several parts, or a group has several channels, the block that finishes
// last merges them in rising order, first its threads' shares of them and then these as a tree. The counters are those
// of groups of channels, or one where a group has several channels.
#pragma once
#include "../common/accumulate.h"
#include "../common/last_block.h"
#include "../common/vector.h"
#include "statistics.h"

namespace convgpu::norm {

constexpr int kStatsThreads = 512;

// Sets the moments of this thread's rows, from `row` on in steps of `step`, in the given units.
template <bool kScaled, class T, int V, class A>
__device__ __forceinline__ void take_rows(const T* x, int64_t row, int64_t end, int64_t step, int64_t pitch,
                                          Moments<A> (&m)[V], const A (&unit)[V], A& count) {
    const auto value = [&](const Vector<T, V>& from, int v) {
        return kScaled ? static_cast<A>(from.at[v]) * unit[v] : static_cast<A>(from.at[v]);
    };
    count = 0;
    if (row >= end) return;
    const auto origin = load<V>(x + row * pitch);
#pragma unroll
    for (int v = 0; v < V; ++v) m[v] = {value(origin, v), 0, 0, unit[v]};
    for (; row + (kChunk - 1) * step < end; row += kChunk * step) {
        Vector<T, V> chunk[kChunk];
#pragma unroll
        for (int k = 0; k < kChunk; ++k) chunk[k] = load<V>(x + (row + k * step) * pitch);
        const A weight = kChunk / (count + kChunk), before = count * weight;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A first = value(chunk[0], v);
            A sum = 0;
#pragma unroll
            for (int k = 1; k < kChunk; ++k) sum += value(chunk[k], v) - first;
            const A apart = sum * (A(1) / kChunk);
            A squares = apart * apart;
#pragma unroll
            for (int k = 1; k < kChunk; ++k) {
                const A d = (value(chunk[k], v) - first) - apart;
                squares += d * d;
            }
            add_chunk(m[v], first, apart, squares, weight, before);
        }
        count += kChunk;
    }
    for (; row < end; row += step) {
        const auto one = load<V>(x + row * pitch);
        const A weight = 1 / (count + 1), before = count * weight;
#pragma unroll
        for (int v = 0; v < V; ++v) add_chunk(m[v], value(one, v), A(0), A(0), weight, before);
        count += 1;
    }
}

// Merges the moments of all parts and channels of statistics, with all threads of the block. The statistics are those
// of groups [first, first + groups) of each `outer` in [o, last).
template <class A>
__device__ __forceinline__ void merge_parts(MergeMemory<A, 1, kStatsThreads>& shared, const Moments<A>* parts,
                                            const Statistics<A>& out, const Problem& p, int part_count, int64_t o,
                                            int64_t last, int first, int groups) {
    const int me = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    int lanes = 1;
    while (lanes * 2 <= kStatsThreads && lanes * 2 * static_cast<int64_t>(groups) * (last - o) <= kStatsThreads &&
           lanes < part_count * p.per_group) {
        lanes *= 2;
    }
    const int teams = kStatsThreads / lanes, lane = me / teams, team = me % teams;
    const int64_t all = (last - o) * groups;
    for (int64_t begin = 0; begin < all; begin += teams) {
        const int64_t i = begin + team, at = o + i / groups;
        const int group = first + static_cast<int>(i % groups);
        Moments<A> sum[1] = {{0, 0, 0, 1}};
        A count = 0;
        if (i < all) {
            for (int64_t k = lane; k < int64_t(part_count) * p.per_group; k += lanes) {
                const int64_t part = k / p.per_group;
                const A more = static_cast<A>(p.rows * (part + 1) / part_count - p.rows * part / part_count);
                const int64_t channel = int64_t(group) * p.per_group + k % p.per_group;
                merge(sum[0], count, parts[(part * p.outer + at) * p.channels + channel], more);
                count += more;
            }
        }
        merge_lanes(shared, sum, count, lane, lanes, team, teams);
        if (i < all && lane == 0) out.put(at * p.groups + group, sum[0]);
    }
}

template <class A, int V>
union StatsRowsMemory {
    MergeMemory<A, V, kStatsThreads> rows;
    MergeMemory<A, 1, kStatsThreads> parts;
};

// Block b takes part b % part_count, of the group of channels with the number b / part_count % columns.
template <class T, int V>
__global__ void __launch_bounds__(kStatsThreads, 1)
    norm_stats_rows(const T* __restrict__ x, const __grid_constant__ Statistics<Accumulator<T>> out,
                    Moments<Accumulator<T>>* parts, uint32_t* counters, const __grid_constant__ Problem p,
                    int part_count, int columns) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<StatsRowsMemory<A, V>>();
    const int part = static_cast<int>(blockIdx.x % part_count);
    const int column = static_cast<int>(blockIdx.x / part_count % columns);
    const auto o = static_cast<int64_t>(blockIdx.x / part_count / columns);
    const int lane = static_cast<int>(threadIdx.y), team = static_cast<int>(threadIdx.x);
    const int width = static_cast<int>(blockDim.x) * V, channel = column * width + team * V;
    const int64_t end = p.rows * (part + 1) / part_count, row = p.rows * part / part_count + lane;
    const T* from = x + o * p.rows * p.channels + channel;
    Moments<A> mine[V];
    A unit[V], count = 0;
    bool again = false;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        unit[v] = 1;
        mine[v] = {0, 0, 0, 1};
    }
    if (channel < p.channels) {
        take_rows<false>(from, row, end, blockDim.y, p.channels, mine, unit, count);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            unit[v] = unit_for(mine[v], out.tiny);
            again = again || unit[v] != 1;
        }
        if (again) take_rows<true>(from, row, end, blockDim.y, p.channels, mine, unit, count);
    }
    merge_lanes(shared.rows, mine, count, lane, static_cast<int>(blockDim.y), team, static_cast<int>(blockDim.x));
    const bool writes = lane == 0 && channel < p.channels;
    if (!parts) {
        if (writes) {
#pragma unroll
            for (int v = 0; v < V; ++v) out.put(o * p.groups + channel + v, mine[v]);
        }
        return;
    }
    if (writes) {
#pragma unroll
        for (int v = 0; v < V; ++v) parts[(int64_t(part) * p.outer + o) * p.channels + channel + v] = mine[v];
    }
    if (p.per_group > 1) {
        if (!arrives_last(counters, gridDim.x)) return;
        return merge_parts(shared.parts, parts, out, p, part_count, 0, p.outer, 0, p.groups);
    }
    if (!arrives_last(counters + o * columns + column, static_cast<uint32_t>(part_count))) return;
    const int first = column * width;
    merge_parts(shared.parts, parts, out, p, part_count, o, o + 1, first, min(width, p.channels - first));
}

template <class T, int V>
void launch_norm_stats_rows(const T* x, const Statistics<Accumulator<T>>& out, Moments<Accumulator<T>>* parts,
                            uint32_t* counters, const Problem& p, int part_count, int lanes, Stream stream) {
    const int columns = (p.channels + lanes * V - 1) / (lanes * V);
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(p.outer * columns * part_count));
    shape.block = dim3(lanes, kStatsThreads / lanes);
    shape.shared_bytes = sizeof(StatsRowsMemory<Accumulator<T>, V>);
    launch(norm_stats_rows<T, V>, shape, stream, x, out, parts, counters, p, part_count, columns);
}

}  // namespace convgpu::norm
