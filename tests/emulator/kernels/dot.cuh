// Computes d = c + sum of a[k] * b[k] as one block of the tensor cores, for many independent cases: case i is the
// diagonal element (i, i) of a tile's product. The inputs are the bit patterns of the operands: 16 uint16_t for each
// case, or 8 uint32_t for tf32. In dot_mma a warp owns 8 cases, and in dot_wgmma a warpgroup owns 64.
#pragma once
#include "../../../csrc/device/ptx.h"

namespace samples {

using convgpu::dyn_smem;
using convgpu::Swizzle;
namespace ptx = convgpu::ptx;

template <class T>
using Bits = std::conditional_t<std::is_same_v<T, ptx::Tf32>, uint32_t, uint16_t>;

template <class T>
constexpr int kProducts = std::is_same_v<T, ptx::Tf32> ? 8 : 16;

// Returns the 32-bit word `w` (0 to 7) of case `i`, or zero beyond the last case.
template <class T>
__device__ __forceinline__ uint32_t word_of(const Bits<T>* p, int i, int cases, int w) {
    return i < cases ? reinterpret_cast<const uint32_t*>(p + i * kProducts<T>)[w] : 0;
}

template <class T>
__global__ void dot_mma(const Bits<T>* a, const Bits<T>* b, const float* c, float* out, int cases) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4, i = blockIdx.x * 8 + g;
    const uint32_t fa[4] = {word_of<T>(a, i, cases, t), 0, word_of<T>(a, i, cases, t + 4), 0};
    const uint32_t fb[2] = {word_of<T>(b, i, cases, t), word_of<T>(b, i, cases, t + 4)};
    const bool diagonal = t == g / 2;
    float d[4] = {};
    if (diagonal && i < cases) d[g % 2] = c[i];
    if constexpr (std::is_same_v<T, ptx::Tf32>) {
        ptx::mma_m16n8k8_tf32(d, fa, fb);
    } else {
        ptx::mma_m16n8k16<T>(d, fa, fb);
    }
    if (diagonal && i < cases) out[i] = d[g % 2];
}

// Both operands are K-major without swizzle: 8 rows of 16 bytes are contiguous, and the other half of k follows them.
struct DotSmem {
    uint32_t a[64 * 8];
    uint32_t b[64 * 8];
};

template <class T>
__global__ void __launch_bounds__(128)
    dot_wgmma(const Bits<T>* a, const Bits<T>* b, const float* c, float* out, int cases) {
    auto& s = dyn_smem<DotSmem>();
    for (int j = threadIdx.x; j < 64 * 8; j += 128) {
        const int row = j / 8, w = j % 8, at = row / 8 * 64 + w / 4 * 32 + row % 8 * 4 + w % 4;
        s.a[at] = word_of<T>(a, blockIdx.x * 64 + row, cases, w);
        s.b[at] = word_of<T>(b, blockIdx.x * 64 + row, cases, w);
    }
    ptx::fence_proxy_async();
    __syncthreads();
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
    float d[32];
#pragma unroll
    for (int j = 0; j < 32; ++j) {
        const int m = row + j / 2 % 2 * 8, n = column + j / 4 * 8 + j % 2, i = blockIdx.x * 64 + m;
        d[j] = m == n && i < cases ? c[i] : 0;
    }
    ptx::wgmma_fence();
    ptx::wgmma<T, 64>(d, ptx::matrix_descriptor(ptx::smem_addr(s.a), 128, 256, Swizzle::kNone),
                      ptx::matrix_descriptor(ptx::smem_addr(s.b), 128, 256, Swizzle::kNone), true);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
#pragma unroll
    for (int j = 0; j < 32; ++j) {
        const int m = row + j / 2 % 2 * 8, n = column + j / 4 * 8 + j % 2, i = blockIdx.x * 64 + m;
        if (m == n && i < cases) out[i] = d[j];
    }
}

}  // namespace samples
