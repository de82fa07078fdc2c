// Atomics with an order: what one block has written before such an atomic, another block sees after it.
#pragma once
#include "machine.h"
#ifndef __CUDACC__
#include "../../emulator/ordered_atomics.h"
#endif

namespace convgpu::ptx {

// Adds 1 to *p, or sets it to 0 if it was `last` or more. Returns what it was before. Releases to the GPU what this
// thread has written and seen written, as before a __syncthreads, and acquires what others have released here.
__device__ __forceinline__ uint32_t atomic_inc(uint32_t* p, uint32_t last) {
    uint32_t before;
    CONVGPU_PTX("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(p), "r"(last) : "memory");
    CONVGPU_EMULATED(before = emulator::atomic_inc(p, last);)
    return before;
}

}  // namespace convgpu::ptx
