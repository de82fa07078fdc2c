// A product by specialised warpgroups: one thread loads (produce); two warpgroups multiply (multiply) and write.
//
// The grid is persistent. A cluster of blocks computes one tile after the other, and the loads of the next tile run
// while the last one is written. The blocks of a cluster own tiles that lie one below the other. All of them need the
// same columns of b, so each block loads a share of these columns for the whole cluster.
#pragma once
#include "../tile/schedule.h"
#include "ring.h"

namespace convgpu::hopper {

using tile::Schedule;
using tile::Work;

// Calls use(work) for each of the block's tiles, in order.
template <int kCluster, class Use>
__device__ __forceinline__ void for_each_tile(const Schedule& schedule, Use use) {
    const int rank = kCluster > 1 ? static_cast<int>(ptx::cluster_rank()) : 0;
    for (uint64_t i = blockIdx.x / kCluster; i < schedule.parts(); i += gridDim.x / kCluster) {
        Work work = schedule.part(i);
        work.m += rank * kTileM;
        use(work);
    }
}

// The producer's part: it fills one slot of the ring after the other, as soon as each is free.
template <int kTileN, int kCluster, class T, class A, class B>
__device__ __forceinline__ void produce(Memory<T, kTileN>& memory, const A& a, const B& b, const Schedule& schedule) {
    constexpr int kShare = kTileN / kPanel / kCluster;  // the number of b's panels that this block loads
    static_assert(kShare > 0, "every block of a cluster loads some of b");
    const int first = kCluster > 1 ? static_cast<int>(ptx::cluster_rank()) * kShare : 0;
    Turn<kStages<T, kTileN>> turn;
    for_each_tile<kCluster>(schedule, [&](const Work& work) {
#pragma unroll 1
        for (int k = work.k_begin; k < work.k_end; k += kDepth, turn.next()) {
            Slot<T, kTileN>& slot = memory.slot[turn.slot];
            const uint32_t full = ptx::smem_addr(&memory.full[turn.slot]);
            ptx::mbar_wait(ptx::smem_addr(&memory.empty[turn.slot]), turn.parity ^ 1);
            // These are all bytes that arrive here, whichever block has asked for them.
            ptx::mbar_arrive_expect_tx(full, sizeof slot);
#pragma unroll
            for (int part = 0; part < kParts<T>; ++part) {
#pragma unroll
                for (int i = 0; i < kTileM / kPanel; ++i) {
                    a.load(slot.part[part].a[i], full, part, work.m + i * kPanel, k, work.item);
                }
#pragma unroll
                for (int i = first; i < first + kShare; ++i) {
                    b.template multicast<kCluster>(slot.part[part].b[i], full, part, work.n + i * kPanel, k, work.item);
                }
            }
        }
    });
}

// A consumer's part: it computes the sums of 64 rows x kTileN columns over `steps` slots, in the order of wgmma's
// registers (device/ptx/wgmma.h). One group of instructions is always in flight. When the next group is issued, the
// slot of the one before is given back.
template <int kTileN, int kCluster, bool kDeepA, bool kDeepB, class T>
__device__ __forceinline__ void multiply(Memory<T, kTileN>& memory, Turn<kStages<T, kTileN>>& turn, int steps,
                                         float (&sums)[kTileN / 2]) {
    const int group = threadIdx.x / kGroup - 1;
    int before = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step, turn.next()) {
        const auto& slot = memory.slot[turn.slot].part[0];
        ptx::mbar_wait(ptx::smem_addr(&memory.full[turn.slot]), turn.parity);
        const uint64_t a = descriptor<T, kDeepA>(&slot.a[group]), b = descriptor<T, kDeepB>(slot.b);
        ptx::wgmma_fence();
#pragma unroll
        for (int i = 0; i < kDepth / kStep; ++i) {
            ptx::wgmma<Half<T>, kTileN, !kDeepA, !kDeepB>(sums, advanced(a, i * kStepBytes<T, kDeepA>),
                                                          advanced(b, i * kStepBytes<T, kDeepB>), step + i > 0);
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        if (step > 0) release<kCluster>(memory.empty[before]);
        before = turn.slot;
    }
    ptx::wgmma_wait<0>();
    release<kCluster>(memory.empty[before]);
}

// Returns the same descriptor, which the compiler then knows to be equal in all threads of the warp. What is derived
// from it takes no registers of threads.
__device__ __forceinline__ uint64_t uniform(uint64_t descriptor) {
    const uint32_t low = __shfl_sync(0xffffffffu, static_cast<uint32_t>(descriptor), 0);
    return (descriptor & 0xffffffff00000000u) | low;
}

// Computes the sums of pairs (scaled.h). A slot needs three products: the two of high * low, which are scaled down, and
// high * high, which is added to them. The tensor cores truncate each term to 2^-25 of the largest term that they add,
// while an addition by a thread rounds. Therefore the 16 terms of an instruction are summed up by themselves, their sum
// is added to that of the slot, and that of the slot to the total. What the last addition rounds off is the value with
// which the next slot begins. One warpgroup does these additions while the other multiplies.
template <int kTileN, int kCluster, bool kDeepA, bool kDeepB, class T>
__device__ __forceinline__ void multiply_pairs(Memory<T, kTileN>& memory, Turn<kStages<T, kTileN>>& turn, int steps,
                                               float (&sums)[kTileN / 2]) {
    const int group = threadIdx.x / kGroup - 1;
    float terms[kTileN / 2];
#pragma unroll
    for (int j = 0; j < kTileN / 2; ++j) sums[j] = terms[j] = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step, turn.next()) {
        const auto& high = memory.slot[turn.slot].part[0];
        constexpr uint32_t kToLow = sizeof high;
        ptx::mbar_wait(ptx::smem_addr(&memory.full[turn.slot]), turn.parity);
        const uint64_t a = uniform(descriptor<T, kDeepA>(&high.a[group])), b = uniform(descriptor<T, kDeepB>(high.b));
        const auto issue = [&](int i, uint32_t of_a, uint32_t of_b, bool accumulate) {
            ptx::wgmma<Half<T>, kTileN, !kDeepA, !kDeepB>(terms, advanced(a, of_a + i * kStepBytes<T, kDeepA>),
                                                          advanced(b, of_b + i * kStepBytes<T, kDeepB>), accumulate);
        };
        ptx::wgmma_fence();
#pragma unroll
        for (int i = 0; i < kDepth / kStep; ++i) {
            issue(i, 0, kToLow, true);
            issue(i, kToLow, 0, true);
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
        float slot[kTileN / 2];
#pragma unroll
        for (int i = 0; i < kDepth / kStep; ++i) {
#pragma unroll
            for (int j = 0; j < kTileN / 2; ++j) {
                slot[j] = i == 0 ? terms[j] * (1 / kLow) : slot[j] + terms[j];
            }
            ptx::wgmma_fence();
            issue(i, 0, 0, false);
            ptx::wgmma_commit();
            ptx::wgmma_wait<0>();
        }
        release<kCluster>(memory.empty[turn.slot]);
#pragma unroll
        for (int j = 0; j < kTileN / 2; ++j) {
            slot[j] += terms[j];
            const float sum = sums[j] + slot[j];
            terms[j] = kLow * (slot[j] - (sum - sums[j]));
            sums[j] = sum;
        }
    }
}

// Holds the second warpgroup back at the start until slot kLead is filled. By then the first warpgroup has finished
// about as many slots. Where the tensor cores or shared memory set the pace, both take equally long and the second
// stays behind: each has the tensor cores for itself while the results of the other are written. Where the loads set
// the pace, the second catches up, and the full ring bridges the time between two tiles.
template <int kCluster, class T, int kTileN>
__device__ __forceinline__ void follow(Memory<T, kTileN>& memory, const Schedule& schedule) {
    const uint64_t first = blockIdx.x / kCluster;
    if (first >= schedule.parts()) return;
    const Work work = schedule.part(first);
    if (work.k_end - work.k_begin > kLead<T, kTileN> * kDepth) {
        ptx::mbar_wait(ptx::smem_addr(&memory.full[kLead<T, kTileN>]), 0);
    }
}

// Calls mend(problem, item, m, n) for every element of the warp's rows of a tile. It computes a NaN again that the
// zeros of missing elements may have caused.
template <int kTileN, class Problem>
__device__ __forceinline__ void mend_rows(const Problem& problem, int item, int m, int n) {
#pragma unroll 1
    for (int at = threadIdx.x % 32; at < 16 * kTileN; at += 32) mend(problem, item, m + at / kTileN, n + at % kTileN);
}

// Computes the block's tiles, from the factors to the results, or to parts of their sums if schedule.splits > 1. The
// map tells how results lie. problem(item) is the result of one item. An element that is missing in a counts as zero,
// and zero times Inf is NaN, so a tile with a NaN is looked through again.
template <int kTileN, int kCluster, class A, class B, class Problem>
__device__ __forceinline__ void compute_tiles(const A& a, const B& b, const Problem& problem, const ResultMap& map,
                                              const Schedule& schedule, const tile::Partial<float>& partial) {
    using T = typename A::Element;
    constexpr bool kMends = A::kHoles && !kScaled<T>;  // a NaN of scaled factors is marked instead
    auto& memory = dyn_smem<Memory<T, kTileN>>();
    initialise<kCluster>(memory);
    if (threadIdx.x < kGroup) {
        ptx::setmaxnreg_dec<56>();
        if (threadIdx.x < 32 && ptx::elect_one()) produce<kTileN, kCluster>(memory, a, b, schedule);
        __syncwarp();
    } else {
        ptx::setmaxnreg_inc<224>();
        const int warp = threadIdx.x / 32 - kGroup / 32;
        const bool issues = ptx::elect_one();  // this lane issues the stores of its warp (results.h)
        Turn<kStages<T, kTileN>> turn;
        int box = 0;
        if (warp >= kGroup / 32) follow<kCluster>(memory, schedule);
        for_each_tile<kCluster>(schedule, [&](const Work& work) {
            const int steps = (work.k_end - work.k_begin + kDepth - 1) / kDepth;
            float sums[kTileN / 2];
            if constexpr (kParts<T> == 2) {
                multiply_pairs<kTileN, kCluster, A::kDeep, B::kDeep>(memory, turn, steps, sums);
            } else {
                multiply<kTileN, kCluster, A::kDeep, B::kDeep>(memory, turn, steps, sums);
            }
            const int m = work.m + warp * kBoxRows, n = work.n;
            if (m >= schedule.M) return;
            const int columns = min(schedule.N - n, kTileN);
            bool nan = false;
            const auto leave_to = [&](const auto& result, int item) {
                nan = leave<kTileN>(memory.box[warp], box, sums, result, map, m, n, item, columns, issues);
            };
            if (schedule.splits > 1) {
                leave_to(tile::PartResult<float>{partial, work.item, work.split},
                         work.item * schedule.splits + work.split);
            } else {
                problem(work.item).visit([&](const auto& result) { leave_to(result, work.item); });
            }
            if constexpr (kMends) {
                if (a.holes && schedule.splits == 1 && __any_sync(0xffffffffu, nan)) {
                    if (issues) ptx::tma_store_wait<0>();
                    __syncwarp();
                    mend_rows<kTileN>(problem, work.item, m, n);
                }
            }
        });
        if (issues) ptx::tma_store_wait_read<0>();  // the shared memory of a block is gone when the block ends
    }
    if constexpr (kCluster > 1) ptx::cluster_sync();  // no block may end while another still counts on its barriers
}

}  // namespace convgpu::hopper
