// Copies from global to shared memory that the issuing thread waits for (from sm_80 on).
#pragma once
#include "machine.h"

namespace convgpu::ptx {

// Copies source_bytes (0 to Bytes) and fills the rest with zeros. 16-byte copies bypass the L1 cache.
template <int Bytes>
__device__ __forceinline__ void cp_async(uint32_t destination, const void* source, uint32_t source_bytes = Bytes) {
    static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    if constexpr (Bytes == 16) {
        CONVGPU_PTX("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(source),
                    "r"(source_bytes) : "memory");
    } else {
        CONVGPU_PTX("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(destination), "l"(source), "n"(Bytes),
                    "r"(source_bytes) : "memory");
    }
    CONVGPU_EMULATED(emulator::cp_async(destination, source, Bytes, source_bytes);)
}

__device__ __forceinline__ void cp_async_commit() {
    CONVGPU_PTX("cp.async.commit_group;" :: : "memory");
    CONVGPU_EMULATED(emulator::cp_async_commit();)
}

// Waits until all groups of this thread but the newest N have landed. For other threads to see the data, a barrier must
// follow.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
    CONVGPU_PTX("cp.async.wait_group %0;" ::"n"(N) : "memory");
    CONVGPU_EMULATED(emulator::cp_async_wait(N);)
}

}  // namespace convgpu::ptx
