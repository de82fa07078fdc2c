// How lines are dealt out. A line has the classes of one example. `sharing` neighbouring threads own a line, each of
// them every sharing-th vector of V neighbouring classes. Line l begins at (l / inner) * classes * inner + l % inner,
// and its elements are `inner` apart; V is 1 unless `inner` is.
#pragma once
#include "../common/divisor.h"
#include "../reduce/terms.h"
#include "plan.h"

namespace convgpu::softmax {

using reduce::Max;
using reduce::Sum;

struct Lines {
    int64_t lines, classes, inner;
    Divisor by_inner;
    int sharing;

    explicit Lines(const Plan& plan)
        : lines(plan.lines),
          classes(plan.classes),
          inner(plan.inner),
          by_inner(static_cast<uint64_t>(plan.inner > 0 ? plan.inner : 1)),
          sharing(plan.sharing) {}
};

// The line of a thread.
struct Line {
    int64_t number, first;
    int lane;
    bool exists;

    __device__ __forceinline__ explicit Line(const Lines& all)
        : number(int64_t(blockIdx.x) * (kThreads / all.sharing) + threadIdx.x / all.sharing),
          lane(static_cast<int>(threadIdx.x) & (all.sharing - 1)),
          exists(number < all.lines) {
        auto outer = static_cast<uint64_t>(exists ? number : 0);
        const auto along = static_cast<int64_t>(all.by_inner.split(outer));
        first = static_cast<int64_t>(outer) * all.classes * all.inner + along;
    }

    // Calls use(class, offset) for the first class of every vector that the thread owns.
    template <int V, class Use>
    __device__ __forceinline__ void each(const Lines& all, Use use) const {
        if (!exists) return;
#pragma unroll 2
        for (int64_t c = int64_t(lane) * V; c < all.classes; c += int64_t(all.sharing) * V)
            use(c, first + c * all.inner);
    }
};

template <class A>
struct LinesMemory {
    A of_warp[kThreads / 32];
    A losses[kThreads];
    int bad[kThreads];
};

// Combines the values of the threads that share a line, in pairs and then warp by warp. All of them get the result. All
// threads of the block must call it.
template <class R, class A>
__device__ __forceinline__ A agreed(A mine, int sharing, A* of_warp) {
    for (int distance = 1; distance < 32 && distance < sharing; distance *= 2) {
        mine = R::combined(mine, __shfl_xor_sync(0xffffffffu, mine, distance));
    }
    if (sharing <= 32) return mine;
    const int me = static_cast<int>(threadIdx.x), first = me / sharing * (sharing / 32);
    __syncthreads();
    if (me % 32 == 0) of_warp[me / 32] = mine;
    __syncthreads();
    mine = of_warp[first];
    for (int w = 1; w < sharing / 32; ++w) mine = R::combined(mine, of_warp[first + w]);
    return mine;
}

// The largest element of a line, and the sum of exp(x - largest).
template <class A>
struct Statistics {
    A largest, sum;
};

template <int V, class T, class A>
__device__ __forceinline__ Statistics<A> statistics_of(const T* x, const Lines& all, const Line& line, A* of_warp) {
    A largest = Max<A>::nothing();
    line.each<V>(all, [&](int64_t, int64_t at) {
        const Vector<T, V> values = load<V>(x + at);
#pragma unroll
        for (int v = 0; v < V; ++v) largest = Max<A>::combined(largest, static_cast<A>(values.at[v]));
    });
    largest = agreed<Max<A>>(largest, all.sharing, of_warp);
    BlockedSum<A, 1> sum;
    line.each<V>(all, [&](int64_t, int64_t at) {
        const Vector<T, V> values = load<V>(x + at);
#pragma unroll
        for (int v = 0; v < V; ++v) sum.add_each([&](int) { return exp(static_cast<A>(values.at[v]) - largest); });
    });
    return {largest, agreed<Sum<A>>(sum[0], all.sharing, of_warp)};
}

inline LaunchShape shape_of(const Plan& plan, size_t shared_bytes) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(plan.blocks()));
    shape.block = dim3(kThreads);
    shape.shared_bytes = shared_bytes;
    return shape;
}

}  // namespace convgpu::softmax
