// Named barriers, and what Hopper (sm_90) adds: the election of one lane of a warp, clusters, distributed shared
// memory, and the reallocation of registers.
#pragma once
#include "machine.h"

namespace convgpu::ptx {

// Waits at barrier `id` until `threads` threads (a multiple of 32) have arrived. The id is 1 to 15; barrier 0 is
// __syncthreads.
__device__ __forceinline__ void bar_sync(uint32_t id, uint32_t threads) {
    CONVGPU_PTX("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
    CONVGPU_EMULATED(emulator::barrier_sync(id, threads);)
}

__device__ __forceinline__ void bar_arrive(uint32_t id, uint32_t threads) {
    CONVGPU_PTX("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
    CONVGPU_EMULATED(emulator::barrier_arrive(id, threads);)
}

// Returns true in one lane of the warp. All lanes must ask together. Nobody may count on which lane it is, but it is
// the same one every time. From this instruction the compiler knows that a single lane goes on; from `lane == 0` it
// does not, and would make a loop over the lanes.
__device__ __forceinline__ bool elect_one() {
    uint32_t elected;
    CONVGPU_PTX(
        "{\n"
        ".reg .pred elected;\n"
        "elect.sync _|elected, 0xffffffff;\n"
        "selp.u32 %0, 1, 0, elected;\n"
        "}" : "=r"(elected));
    CONVGPU_EMULATED(elected = emulator::elect(0xffffffffu);)
    return elected != 0;
}

__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    CONVGPU_PTX("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    CONVGPU_EMULATED(rank = emulator::current_block().rank;)
    return rank;
}

__device__ __forceinline__ void cluster_arrive() {
    CONVGPU_PTX("barrier.cluster.arrive.release.aligned;" :: : "memory");
    CONVGPU_EMULATED(emulator::cluster_arrive();)
}

__device__ __forceinline__ void cluster_wait() {
    CONVGPU_PTX("barrier.cluster.wait.acquire.aligned;" :: : "memory");
    CONVGPU_EMULATED(emulator::cluster_wait();)
}

__device__ __forceinline__ void cluster_sync() {
    cluster_arrive();
    cluster_wait();
}

// Returns the address of the same variable in another block of the cluster.
__device__ __forceinline__ uint32_t mapa(uint32_t address, uint32_t rank) {
    uint32_t mapped;
    CONVGPU_PTX("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
    CONVGPU_EMULATED(mapped = emulator::map_to_rank(address, rank);)
    return mapped;
}

__device__ __forceinline__ float ld_cluster(uint32_t address) {
    float value;
    CONVGPU_PTX("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
    CONVGPU_EMULATED(value = *reinterpret_cast<const float*>(
                         emulator::shared_pointer(address, 4, 4, "ld.shared::cluster", emulator::Reach::kCluster));)
    return value;
}

__device__ __forceinline__ void st_cluster(uint32_t address, float value) {
    CONVGPU_PTX("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
    CONVGPU_EMULATED(*reinterpret_cast<float*>(emulator::shared_pointer(address, 4, 4, "st.shared::cluster",
                                                                        emulator::Reach::kCluster)) = value;)
}

// Sets how many registers each thread of the warpgroup may use. The emulator has nothing to do here.
template <int Registers>
__device__ __forceinline__ void setmaxnreg_inc() {
    static_assert(Registers >= 24 && Registers <= 256 && Registers % 8 == 0, "24 to 256 registers, a multiple of 8");
    CONVGPU_PTX("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

template <int Registers>
__device__ __forceinline__ void setmaxnreg_dec() {
    static_assert(Registers >= 24 && Registers <= 256 && Registers % 8 == 0, "24 to 256 registers, a multiple of 8");
    CONVGPU_PTX("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

}  // namespace convgpu::ptx
