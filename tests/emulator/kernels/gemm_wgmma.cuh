// Computes C[M, N] = A[M, K] * B[N, K]^T on Hopper for T = __nv_bfloat16 or __half, with C in float32. Rows of K
// elements are contiguous, and K is a multiple of 8. A block owns a 128 x 64 tile of C: one warpgroup loads by TMA, and
// the two others own 64 x 64 of the tile each. With Cluster = 2, two blocks along M share the tile of B, and each loads
// half of it for both. The sums run over k in ascending order, in the tensor cores' blocks of 16.
#pragma once
#include "../../../csrc/device/ptx.h"

namespace samples {

using convgpu::dyn_smem;
using convgpu::Swizzle;
using convgpu::TensorMap;
namespace ptx = convgpu::ptx;

enum class WgmmaBug { kNone, kNoFullWait, kEarlyRelease, kReadBeforeWait };

template <class T>
struct GemmWgmma {
    static constexpr int kTileM = 128, kTileN = 64, kDepth = 64, kStages = 3, kThreads = 384;
    struct Smem {
        T a[kStages][kTileM][kDepth];
        T b[kStages][kTileN][kDepth];
        uint64_t full[kStages], empty[kStages];
    };
};

template <class T, int Cluster>
__device__ __forceinline__ void produce(typename GemmWgmma<T>::Smem& s, const TensorMap* map_a, const TensorMap* map_b,
                                        int m0, int n0, int steps) {
    using G = GemmWgmma<T>;
    const int share = G::kTileN / Cluster, first = Cluster > 1 ? (int)ptx::cluster_rank() * share : 0;
    for (int step = 0; step < steps; ++step) {
        const int stage = step % G::kStages;
        const uint32_t full = ptx::smem_addr(&s.full[stage]);
        ptx::mbar_wait(ptx::smem_addr(&s.empty[stage]), (step / G::kStages & 1) ^ 1);
        ptx::mbar_arrive_expect_tx(full, sizeof(s.a[0]) + sizeof(s.b[0]));
        ptx::tma_load(ptx::smem_addr(s.a[stage]), map_a, full, {step * G::kDepth, m0});
        const uint32_t b = ptx::smem_addr(s.b[stage][first]);
        if constexpr (Cluster == 1) {
            ptx::tma_load(b, map_b, full, {step * G::kDepth, n0 + first});
        } else {
            ptx::tma_load_multicast(b, map_b, full, (1 << Cluster) - 1, {step * G::kDepth, n0 + first});
        }
    }
}

// Tells every block whose loads fill this slot that the warpgroup has finished with it.
template <int Cluster>
__device__ __forceinline__ void release_slot(uint32_t empty) {
    const uint32_t thread = threadIdx.x % 128;
    if constexpr (Cluster == 1) {
        if (thread == 0) ptx::mbar_arrive(empty);
    } else {
        if (thread < Cluster) ptx::mbar_arrive_cluster(ptx::mapa(empty, thread));
    }
}

template <class T, int Cluster, WgmmaBug Bug>
__device__ __forceinline__ void consume(typename GemmWgmma<T>::Smem& s, int group, int steps, float (&acc)[32]) {
    using G = GemmWgmma<T>;
    for (int step = 0; step < steps; ++step) {
        const int stage = step % G::kStages;
        const uint32_t empty = ptx::smem_addr(&s.empty[stage]);
        if constexpr (Bug != WgmmaBug::kNoFullWait) {
            ptx::mbar_wait(ptx::smem_addr(&s.full[stage]), step / G::kStages & 1);
        }
        const uint64_t a = ptx::matrix_descriptor(ptx::smem_addr(s.a[stage][group * 64]), 16, 1024, Swizzle::k128B);
        const uint64_t b = ptx::matrix_descriptor(ptx::smem_addr(s.b[stage]), 16, 1024, Swizzle::k128B);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < G::kDepth / 16; ++k) ptx::wgmma<T, G::kTileN>(acc, a + k * 2, b + k * 2, true);
        ptx::wgmma_commit();
        if constexpr (Bug == WgmmaBug::kEarlyRelease) release_slot<Cluster>(empty);
        if constexpr (Bug == WgmmaBug::kReadBeforeWait) {
            if (step == steps - 1) return;
        }
        ptx::wgmma_wait<0>();
        if constexpr (Bug != WgmmaBug::kEarlyRelease) release_slot<Cluster>(empty);
    }
}

template <class T, int Cluster, WgmmaBug Bug>
__global__ void __launch_bounds__(GemmWgmma<T>::kThreads, 1)
    gemm_wgmma(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, float* __restrict__ C,
               int M, int N, int K) {
    using G = GemmWgmma<T>;
    auto& s = dyn_smem<typename G::Smem>();
    const int warpgroup = threadIdx.x / 128, steps = (K + G::kDepth - 1) / G::kDepth;
    const int m0 = blockIdx.x * G::kTileM, n0 = blockIdx.y * G::kTileN;
    if (threadIdx.x == 0) {
        for (int i = 0; i < G::kStages; ++i) {
            ptx::mbar_init(ptx::smem_addr(&s.full[i]), 1);
            ptx::mbar_init(ptx::smem_addr(&s.empty[i]), 2 * Cluster);
        }
        ptx::fence_mbar_init();
    }
    Cluster > 1 ? ptx::cluster_sync() : __syncthreads();
    if (warpgroup == 0) {
        ptx::setmaxnreg_dec<40>();
        if (threadIdx.x == 0) produce<T, Cluster>(s, &map_a, &map_b, m0, n0, steps);
    } else {
        ptx::setmaxnreg_inc<232>();
        const int group = warpgroup - 1, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
        float acc[32] = {};
        consume<T, Cluster, Bug>(s, group, steps, acc);
#pragma unroll
        for (int j = 0; j < 32; ++j) {
            const int m = m0 + group * 64 + warp * 16 + lane / 4 + j / 2 % 2 * 8,
                      n = n0 + j / 4 * 8 + lane % 4 * 2 + j % 2;
            if (m < M && n < N) C[(size_t)m * N + n] = acc[j];
        }
        if constexpr (Bug == WgmmaBug::kReadBeforeWait) ptx::wgmma_wait<0>();
    }
    if constexpr (Cluster > 1) ptx::cluster_sync();  // no block may end while others still write here
}

}  // namespace samples
