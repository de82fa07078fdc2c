// The product of one block. cp.async fills a ring with tiles of both factors while earlier tiles are multiplied. The
// sums pass through shared memory, so that they are written to global memory in long runs.
#pragma once
#include "output.h"
#include "schedule.h"

namespace convgpu::tile {

template <class Engine, int kTileM, int kTileN>
struct Ring {
    typename Engine::TileA a[Engine::kStages];
    typename Engine::TileB b[Engine::kStages];
};
template <class Sum, int kTileM, int kTileN>
struct Sums {
    alignas(16) Sum line[kTileM][kTileN + kVectorBytes / sizeof(Sum)];
};
template <class Engine, int kTileM, int kTileN>
union Memory {
    Ring<Engine, kTileM, kTileN> ring;
    Sums<typename Engine::Sum, kTileM, kTileN> sums;
};

// The least number of blocks that a multiprocessor is to hold, which bounds the registers of a kernel. Element-wise
// loads need more addresses, which would spill under the usual bound.
template <template <class, class, int, int> class EngineOf, class Problem, int kTile, int VA, int VB>
constexpr int kResident =
    VA > 1 && VB > 1 ? EngineOf<typename Problem::A, typename Problem::B, kTile, kTile>::kResident : 1;

// Fills memory.sums with the products of the block's tile.
template <int VA, int VB, class Engine, int kTileM, int kTileN, class A, class B>
__device__ __forceinline__ void multiply_tiles(Memory<Engine, kTileM, kTileN>& memory, const A& a, const B& b,
                                               const Work& work) {
    constexpr int kStep = Engine::kDepth, kStages = Engine::kStages;
    const Loader<A, kTileM, kStep, VA> load_a(a, work.m);
    const Loader<B, kTileN, kStep, VB> load_b(b, work.n);
    auto fill = [&](int slot, int k) {
        if (k < work.k_end) {
            load_a.fill(memory.ring.a[slot], k, work.k_end);
            load_b.fill(memory.ring.b[slot], k, work.k_end);
        }
        ptx::cp_async_commit();
    };
    Engine engine;
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) fill(i, work.k_begin + i * kStep);
    int slot = 0;
    for (int k = work.k_begin; k < work.k_end; k += kStep) {
        ptx::cp_async_wait<kStages - 2>();
        __syncthreads();  // the slot is filled for all threads, and all have finished reading the one before it
        fill(slot == 0 ? kStages - 1 : slot - 1, k + (kStages - 1) * kStep);
        engine.multiply(memory.ring.a[slot], memory.ring.b[slot]);
        slot = slot == kStages - 1 ? 0 : slot + 1;
    }
    ptx::cp_async_wait<0>();
    __syncthreads();
    engine.store(memory.sums);
    __syncthreads();
}

// Computes one element again, as the sum of the products that exist. In the tiles a missing element counts as zero, and
// zero times Inf is NaN. A NaN may come from there, so it is computed again here; it stays if a product that exists
// gives NaN.
template <class Sum, class Problem>
__device__ __forceinline__ Sum sum_again(const Problem& p, int item, int m, int n, int k_begin, int k_end) {
    constexpr int kBlock = 128;
    const auto a = p.a(item);
    const auto b = p.b(item);
    const auto row_a = a.row(m);
    const auto row_b = b.row(n);
    Sum total = 0;
    for (int begin = k_begin; begin < k_end; begin += kBlock) {
        Sum block = 0;
        for (int k = begin; k < (k_end - begin < kBlock ? k_end : begin + kBlock); ++k) {
            const auto* x = a.at(row_a, a.depth(k));
            const auto* w = b.at(row_b, b.depth(k));
            if (x && w) block += static_cast<Sum>(*x) * static_cast<Sum>(*w);
        }
        total += block;
        if (total != total) break;
    }
    return total;
}

// Does the same as sum_again, but as a real call that reads the kernel's own argument. It is seldom needed, and this
// way it costs the main loop neither registers nor copies.
template <class Sum, class Problem>
__device__ __attribute__((noinline)) Sum sum_of_existing(const Problem& p, int item, int m, int n, int k_begin,
                                                         int k_end) {
    return sum_again<Sum>(p, item, m, n, k_begin, k_end);
}

// Calls write(m, n, vector of sums) for all elements of the block's tile.
template <int kTileM, int kTileN, class Sum, class Problem, class Write>
__device__ __forceinline__ void write_tile(const Sums<Sum, kTileM, kTileN>& sums, const Problem& p, bool has_holes,
                                           const Schedule& schedule, const Work& work, Write write) {
    constexpr int V = kVectorBytes / sizeof(typename Problem::A::Element), kPerLine = kTileN / V;
#pragma unroll 1
    for (int at = threadIdx.x; at < kTileM * kPerLine; at += kThreads) {
        const int i = at / kPerLine, j = at % kPerLine * V, m = work.m + i, n = work.n + j;
        auto values = load<V>(&sums.line[i][j]);
        if (has_holes) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (values.at[v] != values.at[v] && m < schedule.M && n + v < schedule.N) {
                    values.at[v] = sum_of_existing<Sum>(p, work.item, m, n + v, work.k_begin, work.k_end);
                }
            }
        }
        write(m, n, values);
    }
}

// Computes the block's tile of one product, from the factors to the result, or to a part of the sums if schedule.splits
// > 1. p.a(item) and p.b(item) are the sources of the factors, and p(item) is the result.
template <template <class, class, int, int> class EngineOf, int kTileM, int kTileN, int VA, int VB, class Problem,
          class Sum>
__device__ __forceinline__ void compute_tile(const Problem& p, const Partial<Sum>& partial, const Schedule& schedule,
                                             const Work& work) {
    using Engine = EngineOf<typename Problem::A, typename Problem::B, kTileM, kTileN>;
    static_assert(kTileM == kTileN, "marks are asked for squares");
    if (!partial.marks.any(work.item, work.m, work.n, kTileM)) return;
    auto& memory = dyn_smem<Memory<Engine, kTileM, kTileN>>();
    const auto a = p.a(work.item);
    multiply_tiles<VA, VB>(memory, a, p.b(work.item), work);
    const auto result = p(work.item);
    write_tile(memory.sums, p, a.has_holes(), schedule, work, [&](int m, int n, const auto& sums) {
        if (schedule.splits > 1) {
            partial.write(m, n, sums, work.item, work.split);
        } else {
            tile::write(result, m, n, sums);
        }
    });
}

}  // namespace convgpu::tile
