// A reduction whose innermost axis is reduced: y[i] = the terms of result i, combined.
//
// A block owns kThreads / sharing neighbouring results, or one part of the terms of one result. `sharing` neighbouring
// threads own the terms of a result: each of them every sharing-th vector of V neighbouring terms. Layouts: the terms
// of result i lie in lines of `inner` neighbours, which begin at kept(i) + reduced(line). Assumes that V divides
// `inner`, alignment to a vector of V elements, and a power of two for `sharing`. Order of summation: a thread adds its
// terms in rising order, as V sums side by side, in blocks of 64, then these V sums; the threads of a warp are added in
// pairs, then warps and parts in rising order. Half types are summed in float32.
#pragma once
#include "terms.h"

namespace convgpu::reduce {

template <class A>
struct RowsMemory {
    A of_warp[kThreads / 32];
};

template <template <class> class Reduction, class T, int V>
__global__ void __launch_bounds__(kThreads)
    reduce_rows(const T* __restrict__ x, const __grid_constant__ Results<T> y, int64_t results, int64_t vectors,
                const __grid_constant__ Divisor by_line, const __grid_constant__ Offsets kept,
                const __grid_constant__ Offsets reduced, int sharing, int parts) {
    using A = Accumulator<T>;
    using R = Reduction<A>;
    const auto part = static_cast<int64_t>(blockIdx.x % parts), block = static_cast<int64_t>(blockIdx.x / parts);
    const int me = static_cast<int>(threadIdx.x), lane = me & (sharing - 1);
    const int64_t i = block * (kThreads / sharing) + me / sharing;
    typename R::template Running<V> running;
    if (i < results) {
        const T* const first = x + kept(i);
        const int64_t end = vectors * (part + 1) / parts;
#pragma unroll 4
        for (int64_t j = vectors * part / parts + lane; j < end; j += sharing) {
            auto line = static_cast<uint64_t>(j);
            const auto along = static_cast<int64_t>(by_line.split(line)) * V;
            running.add(load<V>(first + reduced(static_cast<int64_t>(line)) + along));
        }
    }
    A mine = running[0];
#pragma unroll
    for (int v = 1; v < V; ++v) mine = R::combined(mine, running[v]);
    for (int distance = 1; distance < 32 && distance < sharing; distance *= 2) {
        mine = R::combined(mine, __shfl_down_sync(0xffffffffu, mine, static_cast<unsigned>(distance)));
    }
    if (sharing > 32) {
        auto& shared = dyn_smem<RowsMemory<A>>();
        if (me % 32 == 0) shared.of_warp[me / 32] = mine;
        __syncthreads();
        if (lane == 0) {
            for (int w = 1; w < sharing / 32; ++w) mine = R::combined(mine, shared.of_warp[me / 32 + w]);
        }
    }
    if (lane == 0 && i < results) y.put(part, results, i, mine);
}

template <template <class> class Reduction, class T, int V>
void launch_reduce_rows(const T* x, const Results<T>& y, const Plan& plan, Stream stream) {
    LaunchShape shape;
    const int64_t owned = kThreads / plan.sharing;
    shape.grid = dim3(static_cast<unsigned>((plan.results + owned - 1) / owned * plan.parts));
    shape.block = dim3(kThreads);
    shape.shared_bytes = sizeof(RowsMemory<Accumulator<T>>);
    launch(reduce_rows<Reduction, T, V>, shape, stream, x, y, plan.results, plan.terms / V,
           Divisor(static_cast<uint64_t>(plan.inner > 0 ? plan.inner / V : 1)), Offsets(plan.kept),
           Offsets(plan.reduced), plan.sharing, plan.parts);
}

}  // namespace convgpu::reduce
