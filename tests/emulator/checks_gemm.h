// Checks of whole products by wgmma on whichever machine runs the kernels. The tests and the Hopper probe use them.
#pragma once
#include "../../csrc/device/device_array.h"
#include "kernels/gemm_wgmma.cuh"
#include "testing.h"

namespace checks {

using namespace convgpu;
using namespace samples;

// Checks that C = A[M, K] * B, where element (k, n) of B is at B[n * ldn + k * ldk].
template <class T>
void expect_product(const std::vector<T>& A, const std::vector<T>& B, const std::vector<float>& C, int M, int N, int K,
                    int ldn, int ldk) {
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) {
            float sum = 0;
            for (int k = 0; k < K; ++k)
                sum += float(A[(size_t)m * K + k]) * float(B[(size_t)n * ldn + (size_t)k * ldk]);
            testing::expect_equal(C[(size_t)m * N + n], sum, "C[" + std::to_string(m) + "," + std::to_string(n) + "]");
        }
    }
}

inline unsigned blocks(int n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); }

template <class T>
TensorMap matrix_map(const T* values, int rows, int columns, uint32_t box_rows) {
    TiledLayout l;
    l.tensor = {values,
                std::is_same_v<T, __half> ? ElementType::kFloat16 : ElementType::kBFloat16,
                2,
                {(uint64_t)columns, (uint64_t)rows},
                {0, columns * sizeof(T)}};
    l.box = {64, box_rows};
    l.swizzle = Swizzle::k128B;
    return encode(l);
}

// Checks a product by one warpgroup that loads and two that multiply. With Cluster = 2, two blocks share the tile of B.
template <class T, int Cluster>
void check_gemm_wgmma(int M, int N, int K) {
    using G = GemmWgmma<T>;
    const auto A = testing::random_integers<T>((size_t)M * K, 1), B = testing::random_integers<T>((size_t)N * K, 2);
    const DeviceArray<T> a(A), b(B);
    const DeviceArray<float> c(std::vector<float>((size_t)M * N, NAN));
    const unsigned across = blocks(static_cast<int>(blocks(M, G::kTileM)), Cluster) * Cluster;
    launch(gemm_wgmma<T, Cluster, WgmmaBug::kNone>,
           {dim3(across, blocks(N, G::kTileN)), dim3(G::kThreads), sizeof(typename G::Smem), dim3(Cluster)}, nullptr,
           matrix_map(a.data(), M, K, G::kTileM), matrix_map(b.data(), N, K, G::kTileN / Cluster), c.data(), M, N, K);
    expect_product(A, B, c.download(), M, N, K, K, 1);
}

}  // namespace checks
