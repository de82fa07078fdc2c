// Computes C[M, N] = A[M, K] * B[N, K]^T for T = __nv_bfloat16 or __half, with C in float32. Rows of K elements are
// contiguous, and K is a multiple of 8. A block owns a 64 x 64 tile of C, and each of its four warps 32 x 32 of it.
// cp.async fills a ring of kStages tiles, which are 32 of K deep. Their rows are 64 bytes long, and the 16-byte chunks
// of a row are permuted against bank conflicts. The sums run over k in ascending order, in the tensor cores' blocks of
// 16.
#pragma once
#include "../../../csrc/device/ptx.h"

namespace samples {

using convgpu::dyn_smem;
namespace ptx = convgpu::ptx;

enum class MmaBug { kNone, kWeakWait, kNoBarrier };

template <class T>
struct GemmMma {
    static constexpr int kTile = 64, kDepth = 32, kStages = 3, kThreads = 128, kWarpTile = 32;
    struct Smem {
        T a[kStages][kTile][kDepth];
        T b[kStages][kTile][kDepth];
    };
};

// Returns the column at which the 8 elements of `chunk` (0 to 3) of a row are kept.
__device__ __forceinline__ int chunk_column(int row, int chunk) { return (chunk ^ (row >> 1 & 3)) * 8; }

template <class T>
__device__ __forceinline__ void load_tile(T (&tile)[GemmMma<T>::kTile][GemmMma<T>::kDepth], const T* source, int row0,
                                          int rows, int k0, int K) {
    for (int i = threadIdx.x; i < GemmMma<T>::kTile * 4; i += GemmMma<T>::kThreads) {
        const int r = i / 4, chunk = i % 4, k = k0 + chunk * 8;
        const bool inside = row0 + r < rows && k < K;
        ptx::cp_async<16>(ptx::smem_addr(&tile[r][chunk_column(r, chunk)]),
                          inside ? source + (size_t)(row0 + r) * K + k : source, inside ? 16 : 0);
    }
}

// Adds the warp's 32 x 32 part of the product of one stage to acc.
template <class T>
__device__ __forceinline__ void multiply_stage(const typename GemmMma<T>::Smem& s, int stage, int wm, int wn, int lane,
                                               float (&acc)[2][4][4]) {
    for (int kk = 0; kk < GemmMma<T>::kDepth / 16; ++kk) {
        uint32_t a[2][4], b[2][4];
        for (int i = 0; i < 2; ++i) {
            const int row = wm + i * 16 + lane % 16;
            ptx::ldmatrix_x4(a[i], ptx::smem_addr(&s.a[stage][row][chunk_column(row, kk * 2 + lane / 16)]));
            const int col = wn + i * 16 + lane % 8 + lane / 16 * 8;
            ptx::ldmatrix_x4(b[i], ptx::smem_addr(&s.b[stage][col][chunk_column(col, kk * 2 + lane / 8 % 2)]));
        }
        for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 4; ++j) {
                const uint32_t fragment[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
                ptx::mma_m16n8k16<T>(acc[i][j], a[i], fragment);
            }
        }
    }
}

template <class T, MmaBug Bug>
__global__ void __launch_bounds__(GemmMma<T>::kThreads)
    gemm_mma(const T* __restrict__ A, const T* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
    using G = GemmMma<T>;
    auto& s = dyn_smem<typename G::Smem>();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int m0 = blockIdx.y * G::kTile, n0 = blockIdx.x * G::kTile;
    const int wm = warp / 2 * G::kWarpTile, wn = warp % 2 * G::kWarpTile, steps = (K + G::kDepth - 1) / G::kDepth;
    auto load = [&](int step) {
        if (step < steps) {
            load_tile<T>(s.a[step % G::kStages], A, m0, M, step * G::kDepth, K);
            load_tile<T>(s.b[step % G::kStages], B, n0, N, step * G::kDepth, K);
        }
        ptx::cp_async_commit();
    };
    float acc[2][4][4] = {};
    for (int i = 0; i < G::kStages - 1; ++i) load(i);
    for (int step = 0; step < steps; ++step) {
        ptx::cp_async_wait<G::kStages - (Bug == MmaBug::kWeakWait ? 1 : 2)>();
        if constexpr (Bug != MmaBug::kNoBarrier) __syncthreads();
        load(step + G::kStages - 1);
        multiply_stage<T>(s, step % G::kStages, wm, wn, lane, acc);
    }
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 4; ++j) {
            for (int e = 0; e < 4; ++e) {
                const int m = m0 + wm + i * 16 + lane / 4 + e / 2 * 8, n = n0 + wn + j * 8 + lane % 4 * 2 + e % 2;
                if (m < M && n < N) C[(size_t)m * N + n] = acc[i][j][e];
            }
        }
    }
}

}  // namespace samples
