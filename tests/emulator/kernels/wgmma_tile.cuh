// Computes D[64, N] = A[64, K] * B[K, N] by wgmma, with every layout of the operands in shared memory. There is one
// warpgroup. TMA lays each operand out in columns of boxes as wide as the swizzle: K-major as [k / E][mn][E], MN-major
// as [mn / E][k][E], where E elements are one row of the swizzle (16 bytes without one). The sums run over k in
// ascending order, in blocks of 16 (8 for tf32).
#pragma once
#include "../../../csrc/device/ptx.h"

namespace samples {

using convgpu::dyn_smem;
using convgpu::Swizzle;
using convgpu::TensorMap;
namespace ptx = convgpu::ptx;

// The type in which operands of type T are stored. tf32 is stored as float.
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, ptx::Tf32>, float, T>;

// The distances in shared memory of an operand of `mn` rows (or columns) by K.
template <class T, int Mn, int K, bool MnMajor, Swizzle S>
struct OperandLayout {
    static constexpr int kSize = sizeof(Stored<T>), kRow = convgpu::swizzle_bytes(S), kPerRow = kRow / kSize;
    static constexpr int kBoxes = (MnMajor ? Mn : K) / kPerRow, kBoxRows = MnMajor ? K : Mn;
    static constexpr int kBoxBytes = kBoxRows * kRow;
    static constexpr bool kPlain = S == Swizzle::kNone;
    static constexpr uint32_t kLeading = MnMajor ? (kPlain ? 128 : kBoxBytes) : (kPlain ? kBoxBytes : 16);
    static constexpr uint32_t kStride = MnMajor && kPlain ? kBoxBytes : 8 * kRow;

    static __device__ __forceinline__ uint32_t offset(int k) {
        return MnMajor ? k * kRow : k / kPerRow * kBoxBytes + k % kPerRow * kSize;
    }
};

template <class T, int N, bool AMnMajor, bool BMnMajor, Swizzle S>
struct WgmmaTile {
    static constexpr int kM = 64, kK = std::is_same_v<T, ptx::Tf32> ? 32 : 64, kStep = kK / 4;
    using A = OperandLayout<T, kM, kK, AMnMajor, S>;
    using B = OperandLayout<T, N, kK, BMnMajor, S>;
    struct Smem {
        alignas(1024) Stored<T> a[kM * kK];
        alignas(1024) Stored<T> b[N * kK];
        uint64_t bar;
    };
};

template <class Layout>
__device__ __forceinline__ void load_operand(uint32_t destination, const TensorMap* map, uint32_t bar) {
    for (int i = 0; i < Layout::kBoxes; ++i) {
        ptx::tma_load(destination + i * Layout::kBoxBytes, map, bar, {i * Layout::kPerRow, 0});
    }
}

// Loads A's fragment for 16 of K (8 for tf32) from a K-major layout without swizzle. It is 4 words of 32 bits.
template <class T>
__device__ __forceinline__ void load_fragment(uint32_t (&r)[4], const Stored<T>* a, int k0) {
    constexpr int kChunk = 16 / sizeof(Stored<T>);
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, word = lane % 4;
    for (int i = 0; i < 4; ++i) {
        const auto* chunk = reinterpret_cast<const uint32_t*>(a + (k0 / kChunk + i / 2) * 64 * kChunk);
        r[i] = chunk[(row + i % 2 * 8) * 4 + word];
    }
}

template <class Layout, bool Exchanged>
__device__ __forceinline__ uint64_t describe(uint32_t operand, int k, Swizzle s) {
    constexpr uint32_t leading = Exchanged ? Layout::kStride : Layout::kLeading;
    constexpr uint32_t stride = Exchanged ? Layout::kLeading : Layout::kStride;
    return ptx::matrix_descriptor(operand + Layout::offset(k), leading, stride, s);
}

// With Exchanged, the descriptor is read the other way: leading and stride are in each other's place.
template <class T, int N, bool AMnMajor, bool BMnMajor, Swizzle S, bool ARegisters, bool Exchanged = false>
__global__ void __launch_bounds__(128)
    wgmma_tile(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, float* D) {
    using G = WgmmaTile<T, N, AMnMajor, BMnMajor, S>;
    auto& s = dyn_smem<typename G::Smem>();
    const uint32_t bar = ptx::smem_addr(&s.bar), a = ptx::smem_addr(s.a), b = ptx::smem_addr(s.b);
    if (threadIdx.x == 0) {
        ptx::mbar_init(bar, 1);
        ptx::fence_mbar_init();
        ptx::mbar_arrive_expect_tx(bar, sizeof(s.a) + sizeof(s.b));
        load_operand<typename G::A>(a, &map_a, bar);
        load_operand<typename G::B>(b, &map_b, bar);
    }
    __syncthreads();
    ptx::mbar_wait(bar, 0);
    float d[N / 2];
    uint32_t fragments[4][4];
    if constexpr (ARegisters) {
#pragma unroll
        for (int i = 0; i < 4; ++i) load_fragment<T>(fragments[i], s.a, i * G::kStep);
    }
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int k = i * G::kStep;
        const uint64_t db = describe<typename G::B, Exchanged>(b, k, S);
        if constexpr (ARegisters) {
            ptx::wgmma<T, N, BMnMajor>(d, fragments[i], db, i > 0);
        } else {
            ptx::wgmma<T, N, AMnMajor, BMnMajor>(d, describe<typename G::A, Exchanged>(a, k, S), db, i > 0);
        }
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < N / 2; ++j) D[(row + j / 2 % 2 * 8) * N + column + j / 4 * 8 + j % 2] = d[j];
}

}  // namespace samples
