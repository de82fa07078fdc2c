// CUDA C++ for the host compiler: the keywords, the built-in variables and the intrinsics that kernels use. Kernels
// include it instead of cuda_runtime.h. What is missing here fails to compile, and can then be added here.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <driver_types.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "barrier.h"
#include "runtime.h"
#include "scheduler.h"
#include "warp.h"

// ---- Keywords. The toolkit's headers leave some of them empty, others undefined.
// -------------------------------------
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __noinline__  // libstdc++ uses this word in attributes, so it must not be a macro
#undef __launch_bounds__
#undef __grid_constant__
#undef __maxnreg__
#undef __cluster_dims__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __maxnreg__(...)
#define __cluster_dims__(...)
// If __shared__ were an empty macro, it would silently give every thread a private variable.
#define __shared__ shared_memory_comes_from_dyn_smem_only

// ---- Built-in variables: macros, so no member may bear these names.
// --------------------------------------------------
#define threadIdx (::convgpu::emulator::current->index)
#define blockIdx (::convgpu::emulator::current->block->index)
#define blockDim (::convgpu::emulator::current->block->dim)
#define gridDim (::convgpu::emulator::current->block->grid_dim)
constexpr int warpSize = 32;

// ---- Barriers and fences. Threads see each other's writes at once: fences order nothing here.
// ------------------------
inline void __syncthreads() { convgpu::emulator::sync_threads("__syncthreads"); }
inline int __syncthreads_or(int p) {
    return convgpu::emulator::sync_threads_reduce("__syncthreads_or", p != 0, [](int a, int b) { return a | b; });
}
inline int __syncthreads_and(int p) {
    return convgpu::emulator::sync_threads_reduce("__syncthreads_and", p != 0, [](int a, int b) { return a & b; });
}
inline int __syncthreads_count(int p) {
    return convgpu::emulator::sync_threads_reduce("__syncthreads_count", p != 0, [](int a, int b) { return a + b; });
}
inline void __syncwarp(unsigned mask = 0xffffffffu) { convgpu::emulator::sync_warp(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { convgpu::emulator::yield(); }
[[noreturn]] inline void __trap() { convgpu::emulator::fail("__trap"); }

// ---- Warp shuffles and votes. A segment of `width` lanes is a warp of its own.
// ---------------------------------------
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const int lane = static_cast<int>(convgpu::emulator::current->lane), first = lane & ~(width - 1);
    return convgpu::emulator::shuffle(mask, value, first | (source & (width - 1)), "__shfl_sync");
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const int lane = static_cast<int>(convgpu::emulator::current->lane), source = lane ^ bits;
    const bool beyond = (source & ~(width - 1)) > (lane & ~(width - 1));
    return convgpu::emulator::shuffle(mask, value, beyond ? lane : source, "__shfl_xor_sync");
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const int lane = static_cast<int>(convgpu::emulator::current->lane), d = static_cast<int>(delta);
    return convgpu::emulator::shuffle(mask, value, (lane & (width - 1)) + d < width ? lane + d : lane,
                                      "__shfl_down_sync");
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const int lane = static_cast<int>(convgpu::emulator::current->lane), d = static_cast<int>(delta);
    return convgpu::emulator::shuffle(mask, value, (lane & (width - 1)) >= d ? lane - d : lane, "__shfl_up_sync");
}
inline unsigned __ballot_sync(unsigned mask, int p) { return convgpu::emulator::ballot(mask, p != 0, "__ballot_sync"); }
inline int __any_sync(unsigned mask, int p) { return convgpu::emulator::ballot(mask, p != 0, "__any_sync") != 0; }
inline int __all_sync(unsigned mask, int p) { return convgpu::emulator::ballot(mask, p == 0, "__all_sync") == 0; }

#include "atomics.h"
#include "intrinsics.h"
