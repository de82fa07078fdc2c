// Mean and variance where the elements that share a mean lie in runs: batch norm in channels_first, layer and group
// norm.
//
// A block owns blockDim.y statistics, or one part of one; a thread owns every blockDim.x-th vector of V neighbouring
// elements of its statistics. Layouts: x[outer][row][group][run], where a run has the group's channels and inner; and
// parts[statistic][part]. Assumes that V divides a run, alignment to a vector, that blockDim has powers of 2 whose
// product is kThreads, and that blockDim.y is 1 where there are several parts. Order: a thread merges its vectors in
// rising order, chunks of 8 elements or of one vector (moments.h); the threads' moments are merged as a tree, and so
// are those of the parts by the block that finishes last, whose threads merge every blockDim.x-th part in rising order
// first.
#pragma once
#include "../common/accumulate.h"
#include "../common/last_block.h"
#include "../common/vector.h"
#include "statistics.h"

namespace convgpu::norm {

constexpr int kRunThreads = 256;

// The elements of one statistic: `rows` runs of `vectors` vectors, `pitch` elements apart.
template <class T>
struct Runs {
    const T* from;
    int64_t pitch;
};

// Sets the moments of vectors `i` to `end`, in steps of `step`, in the given unit.
template <int V, class T, class A>
__device__ __forceinline__ void take_runs(const Runs<T>& runs, int64_t i, int64_t end, int step,
                                          const Divisor& by_vectors, Moments<A>& m, A unit, A& count) {
    constexpr int kVectors = V < kChunk ? kChunk / V : 1, kValues = kVectors * V;
    const auto at = [&](int64_t k) {
        auto row = static_cast<uint64_t>(k);
        const auto vector = static_cast<int64_t>(by_vectors.split(row));
        return load<V>(runs.from + static_cast<int64_t>(row) * runs.pitch + vector * V);
    };
    count = 0;
    if (i >= end) return;
    m = {static_cast<A>(at(i).at[0]) * unit, 0, 0, unit};
#pragma unroll 4
    for (; i + (kVectors - 1) * step < end; i += kVectors * step) {
        Vector<T, V> chunk[kVectors];
#pragma unroll
        for (int k = 0; k < kVectors; ++k) chunk[k] = at(i + k * step);
        const A first = static_cast<A>(chunk[0].at[0]) * unit;
        const auto from_first = [&](int k) { return static_cast<A>(chunk[k / V].at[k % V]) * unit - first; };
        A sum = 0;
#pragma unroll
        for (int k = 1; k < kValues; ++k) sum += from_first(k);
        const A apart = sum * (A(1) / kValues);
        A squares = apart * apart;
#pragma unroll
        for (int k = 1; k < kValues; ++k) {
            const A d = from_first(k) - apart;
            squares += d * d;
        }
        const A weight = kValues / (count + kValues);
        add_chunk(m, first, apart, squares, weight, count * weight);
        count += kValues;
    }
    for (; i < end; i += step) {
        const auto one = at(i);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const A weight = 1 / (count + 1);
            add_chunk(m, static_cast<A>(one.at[v]) * unit, A(0), A(0), weight, count * weight);
            count += 1;
        }
    }
}

// Block b takes part b % part_count of statistics b / part_count * blockDim.y + threadIdx.y.
template <class T, int V>
__global__ void __launch_bounds__(kRunThreads, 2)
    norm_stats_runs(const T* __restrict__ x, const __grid_constant__ Statistics<Accumulator<T>> out,
                    Moments<Accumulator<T>>* parts, uint32_t* counters, const __grid_constant__ Problem p, int64_t run,
                    const __grid_constant__ Divisor by_vectors, int part_count) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<MergeMemory<A, 1, kRunThreads>>();
    const int part = static_cast<int>(blockIdx.x % part_count), lane = static_cast<int>(threadIdx.x);
    const int lanes = static_cast<int>(blockDim.x), team = static_cast<int>(threadIdx.y);
    const int64_t statistic = static_cast<int64_t>(blockIdx.x / part_count) * blockDim.y + team;
    const int64_t all = p.rows * (run / V), end = all * (part + 1) / part_count, begin = all * part / part_count;
    Moments<A> mine[1] = {{0, 0, 0, 1}};
    A count = 0;
    if (statistic < p.outer * p.groups) {
        const int64_t o = statistic / p.groups, g = statistic % p.groups;
        const Runs<T> runs{x + (o * p.rows * p.groups + g) * run, p.groups * run};
        take_runs<V>(runs, begin + lane, end, lanes, by_vectors, mine[0], A(1), count);
        const A unit = unit_for(mine[0], out.tiny);
        if (unit != 1) take_runs<V>(runs, begin + lane, end, lanes, by_vectors, mine[0], unit, count);
    }
    merge_lanes(shared, mine, count, lane, lanes, team, static_cast<int>(blockDim.y));
    if (statistic < p.outer * p.groups && lane == 0) {
        if (!parts) return out.put(statistic, mine[0]);
        parts[statistic * part_count + part] = mine[0];
    }
    if (!parts || !arrives_last(counters + statistic, static_cast<uint32_t>(part_count))) return;
    mine[0] = {0, 0, 0, 1};
    count = 0;
    for (int k = lane; k < part_count; k += lanes) {
        const A more = static_cast<A>((all * (k + 1) / part_count - all * k / part_count) * V);
        merge(mine[0], count, parts[statistic * part_count + k], more);
        count += more;
    }
    merge_lanes(shared, mine, count, lane, lanes, team, 1);
    if (lane == 0) out.put(statistic, mine[0]);
}

template <class T, int V>
void launch_norm_stats_runs(const T* x, const Statistics<Accumulator<T>>& out, Moments<Accumulator<T>>* parts,
                            uint32_t* counters, const Problem& p, int part_count, int lanes, Stream stream) {
    const int teams = kRunThreads / lanes;
    const int64_t run = p.per_group * p.inner, blocks = (p.outer * p.groups + teams - 1) / teams;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(blocks * part_count));
    shape.block = dim3(lanes, teams);
    shape.shared_bytes = sizeof(MergeMemory<Accumulator<T>, 1, kRunThreads>);
    launch(norm_stats_runs<T, V>, shape, stream, x, out, parts, counters, p, run, Divisor(run / V), part_count);
}

}  // namespace convgpu::norm
