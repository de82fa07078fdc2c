// A warpgroup of 128 threads multiplies a 64 x k matrix by a k x N matrix, asynchronously (sm_90a); k is 16 (bf16,
// fp16) or 8 (tf32).
//
//     wgmma_fence();                    // from here on the tensor cores own the registers of d (and of a)
//     wgmma<T, N>(d, a, b, true);       // may be issued any number of times
//     wgmma_commit();
//     wgmma_wait<0>();                  // from here on the threads own these registers again
//
// Thread i of the warpgroup is lane 4*g + t of warp w. Its d[j] is the element in row 16*w + g + 8*(j/2%2) and column
// 8*(j/4) + 2*t + j%2.
#pragma once
#include "mma.h"
#ifdef __CUDACC__
#include "wgmma_ptx.h"
#endif

namespace convgpu {

// Tells whether these instructions exist in the code that is being compiled. nvcc compiles a kernel once for each
// architecture.
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHasWgmma = true;
#else
constexpr bool kHasWgmma = false;
#endif

}  // namespace convgpu

namespace convgpu::ptx {

__device__ __forceinline__ void wgmma_fence() {
    CONVGPU_PTX("wgmma.fence.sync.aligned;" :: : "memory");
    CONVGPU_EMULATED(emulator::wgmma_fence();)
}

__device__ __forceinline__ void wgmma_commit() {
    CONVGPU_PTX("wgmma.commit_group.sync.aligned;" :: : "memory");
    CONVGPU_EMULATED(emulator::wgmma_commit();)
}

// Waits until all groups but the newest N are complete.
template <int N>
__device__ __forceinline__ void wgmma_wait() {
    CONVGPU_PTX("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
    CONVGPU_EMULATED(emulator::wgmma_wait(N);)
}

// Describes a K-major or MN-major operand in shared memory. `leading` and `stride` are distances in bytes, and
// emulator/matrix_descriptor.h says what they mean in each layout. The swizzle's pattern must begin at a multiple of 8
// of its rows; the start address may move inside a row (along k).
__device__ __forceinline__ uint64_t matrix_descriptor(uint32_t address, uint32_t leading, uint32_t stride,
                                                      Swizzle swizzle) {
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | static_cast<uint64_t>(leading >> 4) << 16 |
           static_cast<uint64_t>(stride >> 4) << 32 | static_cast<uint64_t>(swizzle) << 62;
}

// Computes d = a * b, or d += a * b if `accumulate` holds. T is __nv_bfloat16, __half or Tf32 (K-major only); a and b
// are descriptors.
template <class T, int N, bool AMnMajor = false, bool BMnMajor = false>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "N is a multiple of 8 up to 256");
    static_assert(!std::is_same_v<T, Tf32> || (!AMnMajor && !BMnMajor), "tf32 operands are K-major");
#ifdef __CUDACC__
    WgmmaPtx<N>::template run<T, AMnMajor, BMnMajor>(d, a, b, accumulate);
#else
    emulator::wgmma_issue({operand<T>(), N, a, b, nullptr, d, accumulate, AMnMajor, BMnMajor});
#endif
}

// Does the same with a in registers, as fragments of mma.sync, warp by warp. The tensor cores own these registers too
// until the wait.
template <class T, int N, bool BMnMajor = false>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256, "N is a multiple of 8 up to 256");
    static_assert(!std::is_same_v<T, Tf32> || !BMnMajor, "tf32 operands are K-major");
#ifdef __CUDACC__
    WgmmaPtx<N>::template run<T, BMnMajor>(d, a, b, accumulate);
#else
    emulator::wgmma_issue({operand<T>(), N, 0, b, a, d, accumulate, false, BMnMajor});
#endif
}

}  // namespace convgpu::ptx
