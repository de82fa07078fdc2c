// Computes C[M, N] = A[M, K] * B[K, N] in float32, for row-major matrices of any size. A block owns a kTile x kTile
// tile of C, and a thread kPer x kPer elements of it. Tiles of A (transposed) and B pass through shared memory, kDepth
// of K at a time. Each element is summed over k in ascending order.
#pragma once
#include "../../../csrc/device/launch.h"

namespace samples {

using convgpu::dyn_smem;

enum class SimtBug { kNone, kNoBarrierAfterUse };

struct GemmSimt {
    static constexpr int kTile = 32, kDepth = 8, kPer = 4, kThreads = (kTile / kPer) * (kTile / kPer);
    struct Smem {
        float a[kDepth][kTile + 4];
        float b[kDepth][kTile + 4];
    };
};

template <SimtBug Bug>
__global__ void __launch_bounds__(GemmSimt::kThreads)
    gemm_simt(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
    constexpr int kTile = GemmSimt::kTile, kDepth = GemmSimt::kDepth, kPer = GemmSimt::kPer;
    auto& s = dyn_smem<GemmSimt::Smem>();
    const int tid = threadIdx.x, tx = tid % (kTile / kPer), ty = tid / (kTile / kPer);
    const int m0 = blockIdx.y * kTile, n0 = blockIdx.x * kTile;
    float acc[kPer][kPer] = {};
    for (int k0 = 0; k0 < K; k0 += kDepth) {
        for (int i = tid; i < kTile * kDepth; i += GemmSimt::kThreads) {
            const int m = i / kDepth, ka = i % kDepth, kb = i / kTile, n = i % kTile;
            s.a[ka][m] = m0 + m < M && k0 + ka < K ? A[(size_t)(m0 + m) * K + k0 + ka] : 0.0f;
            s.b[kb][n] = n0 + n < N && k0 + kb < K ? B[(size_t)(k0 + kb) * N + n0 + n] : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < kDepth; ++k) {
            for (int i = 0; i < kPer; ++i) {
                for (int j = 0; j < kPer; ++j) acc[i][j] += s.a[k][ty * kPer + i] * s.b[k][tx * kPer + j];
            }
        }
        if constexpr (Bug != SimtBug::kNoBarrierAfterUse) __syncthreads();
    }
    for (int i = 0; i < kPer; ++i) {
        for (int j = 0; j < kPer; ++j) {
            const int m = m0 + ty * kPer + i, n = n0 + tx * kPer + j;
            if (m < M && n < N) C[(size_t)m * N + n] = acc[i][j];
        }
    }
}

}  // namespace samples
