// Means and sums of squared differences, which stay right for any data that float32 holds.
//
// Values are taken in chunks. The differences of a chunk's values from its first one are averaged, and then the squares
// of their differences from this average are added up. For equal values all of these are 0, and for values that lie
// close together (1e4 +- 1e-2) they lose nothing. The chunk is then merged into what came before by the formula of
// Chan, Golub and LeVeque (Updating formulae and a pairwise algorithm for computing sample variances, 1979), in which
// nothing is cancelled. A mean is kept as a sum of two numbers, because float32 would round 1e4 to steps of 1e-3.
#pragma once
#include "../device/launch.h"

namespace convgpu::norm {

// kDown and kUp are the powers of 2 by which values are multiplied where their squares overflow, or vanish. These are
// taken to vanish where their sum is below kTiny and the mean within kNear of 0: farther out, values that differ at all
// have squares above kTiny. The squares of scaled differences, and their sums, are normal numbers.
template <class A>
struct Units;
template <>
struct Units<float> {
    static constexpr float kDown = 0x1p-80f, kUp = 0x1p+100f, kTiny = 0x1p-100f, kNear = 0x1p-20f,
                           kLargest = 0x1.fffffep+127f;
};
template <>
struct Units<double> {
    static constexpr double kDown = 0x1p-600, kUp = 0x1p+800, kTiny = 0x1p-900, kNear = 0x1p-380,
                            kLargest = 0x1.fffffffffffffp+1023;
};

// Of some values times `unit`, a power of 2: their mean, mean + rest, and the sum of their squared differences from it.
template <class A>
struct Moments {
    A mean, rest, squares, unit;
};

// Adds t to mean + rest, and keeps what the sum is rounded off (Knuth's TwoSum).
template <class A>
__device__ __forceinline__ void add_to_mean(Moments<A>& m, A t) {
    t += m.rest;
    const A sum = m.mean + t, b = sum - m.mean;
    m.rest = (m.mean - (sum - b)) + (t - b);
    m.mean = sum;
}

// Merges a chunk: its first value, how far its mean is apart from that, and the sum of squared differences from the
// mean. `weight` is the chunk's share of all values so far, and `before` their number without the chunk's times this
// share.
template <class A>
__device__ __forceinline__ void add_chunk(Moments<A>& m, A first, A apart, A squares, A weight, A before) {
    const A delta = (first - m.mean) + (apart - m.rest);
    m.squares += squares + delta * delta * before;
    add_to_mean(m, delta * weight);
}

template <class A>
__device__ __forceinline__ void rescale(Moments<A>& m, A unit) {
    const A factor = unit / m.unit;
    m.mean *= factor;
    m.rest *= factor;
    m.squares = m.squares * factor * factor;
    m.unit = unit;
}

template <class A>
__device__ __forceinline__ Moments<A> merged(Moments<A> a, A many, const Moments<A>& b, A more) {
    const A weight = more / (many + more), delta = (b.mean - a.mean) + (b.rest - a.rest);
    a.squares += b.squares + delta * delta * (many * weight);
    add_to_mean(a, delta * weight);
    return a;
}

// a becomes the moments of the values of a, which are `many`, and of those of b, which are `more`.
template <class A>
__device__ __forceinline__ void merge(Moments<A>& a, A many, Moments<A> b, A more) {
    if (more == 0) return;
    if (many == 0) {
        a = b;
        return;
    }
    if (a.unit > b.unit) rescale(a, b.unit);
    if (b.unit > a.unit) rescale(b, a.unit);
    const Moments<A> both = merged(a, many, b, more);
    if (both.squares <= Units<A>::kLargest || a.unit == Units<A>::kDown) {
        a = both;
        return;
    }
    rescale(a, Units<A>::kDown);
    rescale(b, Units<A>::kDown);
    a = merged(a, many, b, more);
}

// Returns the unit in which a thread takes its values again, or 1 where it need not. `tiny` says that epsilon does not
// hide squares that vanish.
template <class A>
__device__ __forceinline__ A unit_for(const Moments<A>& m, bool tiny) {
    const A distance = m.mean < 0 ? -m.mean : m.mean;
    if (!(m.squares <= Units<A>::kLargest && distance <= Units<A>::kLargest)) return Units<A>::kDown;
    return tiny && distance <= Units<A>::kNear && m.squares <= Units<A>::kTiny ? Units<A>::kUp : A(1);
}

constexpr int kChunk = 8;  // values of a chunk

// The threads of a block that share values merge theirs, as a tree, the upper half into the lower: `lane` of `lanes`
// (a power of 2) merges for team `team` of `teams`. `count` is the number of this thread's values.
template <class A, int V, int kThreads>
struct MergeMemory {
    Moments<A> moments[V][kThreads / 2];
    A counts[kThreads / 2];
};

template <class A, int V, int kThreads>
__device__ __forceinline__ void merge_lanes(MergeMemory<A, V, kThreads>& shared, Moments<A> (&mine)[V], A& count,
                                            int lane, int lanes, int team, int teams) {
    for (int half = lanes / 2; half > 0; half /= 2) {
        const int at = lane % half * teams + team;
        if (lane >= half && lane < 2 * half) {
#pragma unroll
            for (int v = 0; v < V; ++v) shared.moments[v][at] = mine[v];
            shared.counts[at] = count;
        }
        __syncthreads();
        if (lane < half) {
#pragma unroll
            for (int v = 0; v < V; ++v) merge(mine[v], count, shared.moments[v][at], shared.counts[at]);
            count += shared.counts[at];
        }
        __syncthreads();
    }
}

}  // namespace convgpu::norm
