// Barriers in shared memory that count arrivals of threads and bytes of copies (sm_90). `bar` is the 32-bit shared
// address of a uint64_t. A phase ends when all arrivals and all expected bytes are there. The phases have parity 0, 1,
// 0, ...
#pragma once
#include "machine.h"

namespace convgpu::ptx {

__device__ __forceinline__ void mbar_init(uint32_t bar, uint32_t arrivals) {
    CONVGPU_PTX("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
    CONVGPU_EMULATED(emulator::mbarrier_init(bar, arrivals);)
}

// Makes initialised barriers visible to other blocks and to the copy engine. It is called after the initialisations and
// before the barrier that publishes them.
__device__ __forceinline__ void fence_mbar_init() { CONVGPU_PTX("fence.mbarrier_init.release.cluster;" :: : "memory"); }

// Orders ordinary writes to shared memory before a TMA store or a wgmma that reads them.
__device__ __forceinline__ void fence_proxy_async() { CONVGPU_PTX("fence.proxy.async.shared::cta;" :: : "memory"); }

__device__ __forceinline__ void mbar_arrive(uint32_t bar) {
    CONVGPU_PTX("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
    CONVGPU_EMULATED(emulator::mbarrier_arrive(bar, "mbarrier.arrive");)
}

// Arrives at a barrier of any block of the cluster; `bar` comes from mapa. Without qualifiers the arrival has the
// semantics .release at the scope .cta: a thread of another block that waits here learns that this thread came so far,
// but it need not see what this thread has written. A thread that hands data over needs .release.cluster, before which
// the compiler puts a memory barrier for the whole GPU.
__device__ __forceinline__ void mbar_arrive_cluster(uint32_t bar) {
    CONVGPU_PTX("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory");
    CONVGPU_EMULATED(emulator::mbarrier_arrive(bar, "mbarrier.arrive.shared::cluster");)
}

__device__ __forceinline__ void mbar_expect_tx(uint32_t bar, uint32_t bytes) {
    CONVGPU_PTX("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
    CONVGPU_EMULATED(emulator::mbarrier_expect(bar, bytes);)
}

__device__ __forceinline__ void mbar_arrive_expect_tx(uint32_t bar, uint32_t bytes) {
    CONVGPU_PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
    CONVGPU_EMULATED(emulator::mbarrier_arrive_expect(bar, bytes);)
}

// Waits until the phase of this parity has ended. For a fresh barrier, the "previous" phase, of parity 1, counts as
// ended.
__device__ __forceinline__ void mbar_wait(uint32_t bar, uint32_t parity) {
    CONVGPU_PTX(
        "{\n"
        ".reg .pred done;\n"
        "TRY:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra TRY;\n"
        "}" ::"r"(bar),
        "r"(parity) : "memory");
    CONVGPU_EMULATED(emulator::mbarrier_wait(bar, parity);)
}

}  // namespace convgpu::ptx
