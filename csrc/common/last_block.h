// The parts of a sum that several blocks have computed are combined by the block that finishes last, in a fixed order:
// which block that is depends on chance, what it computes does not.
#pragma once
#include "../device/launch.h"
#include "../device/ptx/atomic.h"

namespace convgpu {

// Tells all threads of a block whether it is the last of `blocks` blocks to arrive at this counter. What the others
// wrote before they arrived can be read then. The counter must be 0 before the first arrives, and is 0 after the last.
__device__ __forceinline__ bool arrives_last(uint32_t* counter, uint32_t blocks) {
    __syncthreads();
    bool last = false;
    if (threadIdx.x == 0 && threadIdx.y == 0) last = ptx::atomic_inc(counter, blocks - 1) == blocks - 1;
    return __syncthreads_or(last) != 0;
}

}  // namespace convgpu
