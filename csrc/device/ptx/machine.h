// An instruction has two spellings, one for nvcc and one for the emulator. These macros compile exactly one of them.
#pragma once
#include <type_traits>

#include "../launch.h"
#include "../tensor_layout.h"
#ifdef __CUDACC__
#include <cuda.h>
#define CONVGPU_PTX(...) asm volatile(__VA_ARGS__)
#define CONVGPU_EMULATED(...)
#else
#include "../../emulator/cp_async.h"
#include "../../emulator/mbarrier.h"
#include "../../emulator/mma.h"
#include "../../emulator/shared_memory.h"
#include "../../emulator/tma.h"
#include "../../emulator/wgmma.h"
#define CONVGPU_PTX(...)
#define CONVGPU_EMULATED(...) __VA_ARGS__
#endif

namespace convgpu::ptx {

// Returns the 32-bit address of a variable in the block's own shared memory.
__device__ __forceinline__ uint32_t smem_addr(const void* p) {
#ifdef __CUDACC__
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#else
    return emulator::shared_address(p);
#endif
}

// Reads four bytes of shared memory at a 32-bit address.
__device__ __forceinline__ uint32_t ld_shared(uint32_t address) {
    uint32_t value;
    CONVGPU_PTX("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
    CONVGPU_EMULATED(value = *reinterpret_cast<const uint32_t*>(
                         emulator::shared_pointer(address, 4, 4, "ld.shared", emulator::Reach::kBlock));)
    return value;
}

}  // namespace convgpu::ptx
