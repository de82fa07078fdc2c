// Computes D[64, N] = A[64, depth] * B[depth, N] by wgmma, as the packed kernel of convolution does. A is in registers.
// B is in panels of 64 columns, N-major with the 128-byte swizzle, and depth * 128 bytes lie from one panel to the
// next. depth is a multiple of 16. There is one warpgroup, whose threads write B to shared memory. The sums run over k
// in ascending order, in blocks of 16.
#pragma once
#include "../../../csrc/device/ptx.h"

namespace samples {

using convgpu::dyn_smem;
using convgpu::Swizzle;
namespace ptx = convgpu::ptx;

constexpr int packed_bytes(int columns, int depth) { return columns / 64 * depth * 128; }

template <class T, int N>
__global__ void __launch_bounds__(128) packed_tile(const T* A, const T* B, float* D, int depth) {
    unsigned char* const panels = &dyn_smem<unsigned char>();
    for (int at = threadIdx.x; at < depth * N; at += 128) {
        const int k = at / N, n = at % N, chunk = n % 64 / 8;
        unsigned char* const line = panels + (n / 64 * depth + k) * 128;
        reinterpret_cast<T*>(line + (chunk ^ k % 8) * 16)[n % 8] = B[at];
    }
    ptx::fence_proxy_async();
    __syncthreads();
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
    float d[N / 2];
#pragma unroll
    for (float& sum : d) sum = 0;
#pragma unroll 1
    for (int k = 0; k < depth; k += 16) {
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            a[i] = *reinterpret_cast<const uint32_t*>(A + (row + i % 2 * 8) * depth + k + i / 2 * 8 + column);
        }
        const uint64_t b =
            ptx::matrix_descriptor(ptx::smem_addr(panels) + k * 128, depth * 128, 8 * 128, Swizzle::k128B);
        ptx::wgmma_fence();
        ptx::wgmma<T, N, true>(d, a, b, true);
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
    }
#pragma unroll
    for (int j = 0; j < N / 2; ++j) D[(row + j / 2 % 2 * 8) * N + column + j / 4 * 8 + j % 2] = d[j];
}

}  // namespace samples
