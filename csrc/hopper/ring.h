// A ring of slots lies between the threads that load and those that multiply, with the barriers that hand slots over.
//
// Each slot has two barriers. With `full`, the producer says how many bytes it has asked TMA for, and the phase ends
// when they have arrived. The phase of `empty` ends when every warpgroup that reads the slot has finished with it, in
// all blocks whose loads write it. Producer and consumers each walk the ring with a Turn of their own.
#pragma once
#include "results.h"

namespace convgpu::hopper {

constexpr int kTileM = 128, kDepth = kPanel;  // the rows of a block's tile, and the depth of a slot
constexpr int kConsumers = 2, kGroup = 128;   // two warpgroups multiply, each 64 rows; kGroup is the threads of one
constexpr int kThreads = kGroup * (1 + kConsumers);
constexpr int kRingBytes = 192 << 10;

constexpr int stages_of(int tile_n, int parts) { return kRingBytes / ((kTileM + tile_n) * kDepth * 2 * parts); }
template <class T, int kTileN>
constexpr int kStages = stages_of(kTileN, kParts<T>);

// The first warpgroup is so many slots ahead of the second. The rest of the ring is filled meanwhile.
constexpr int lead_of(int stages) { return stages / 3; }
template <class T, int kTileN>
constexpr int kLead = lead_of(kStages<T, kTileN>);

// One tile of both factors. A split factor has two parts.
template <class T, int kTileN>
struct Slot {
    struct {
        Panel<T> a[kTileM / kPanel], b[kTileN / kPanel];
    } part[kParts<T>];
};

template <class T, int kTileN>
struct Memory {
    Slot<T, kTileN> slot[kStages<T, kTileN>];
    Box box[kConsumers * kGroup / 32][2];  // two boxes for each warp that multiplies
    uint64_t full[kStages<T, kTileN>], empty[kStages<T, kTileN>];
};

// The slot that comes next in the ring, and the parity of its phase.
template <int kStages>
struct Turn {
    int slot = 0;
    uint32_t parity = 0;

    __device__ __forceinline__ void next() {
        if (++slot < kStages) return;
        slot = 0;
        parity ^= 1;
    }
};

template <int kCluster, class Memory>
__device__ __forceinline__ void initialise(Memory& memory) {
    if (threadIdx.x == 0) {
        for (uint64_t& barrier : memory.full) ptx::mbar_init(ptx::smem_addr(&barrier), 1);
        for (uint64_t& barrier : memory.empty) ptx::mbar_init(ptx::smem_addr(&barrier), kConsumers * kCluster);
        ptx::fence_mbar_init();
    }
    kCluster > 1 ? ptx::cluster_sync() : __syncthreads();
}

// Tells every block whose loads fill this slot that the warpgroup has finished with it.
//
// One thread arrives for its warpgroup. wgmma is collective: all four warps issue an instruction together, it reads the
// slot for all of them, and it ends for all at once. Therefore a thread whose wait for it has returned knows that the
// slot was read, although the PTX ISA states completion for the executing thread alone; CUTLASS counts on the same.
//
// The arrival at another block needs no .release.cluster. A warpgroup only reads the slot, and these reads have ended
// before the arrival is issued; it leaves no writes there that the other block would have to see. What follows in the
// slot is written by the copy engine, which the producer starts only after its wait has seen the arrival.
template <int kCluster>
__device__ __forceinline__ void release(uint64_t& empty) {
    const uint32_t thread = threadIdx.x % kGroup, barrier = ptx::smem_addr(&empty);
    if constexpr (kCluster == 1) {
        if (thread == 0) ptx::mbar_arrive(barrier);
    } else {
        if (thread < kCluster) ptx::mbar_arrive_cluster(ptx::mapa(barrier, thread));
    }
}

}  // namespace convgpu::hopper
