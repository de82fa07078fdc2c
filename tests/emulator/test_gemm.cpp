// Whole kernels: every feature together, deeper than every pipeline, against a plain sum of exact numbers.
#include "kernels/gemm_mma.cuh"
#include "kernels/gemm_simt.cuh"
#include "kernels/gemm_wgmma.cuh"
#include "testing.h"

using namespace samples;
using namespace convgpu;

namespace {

// C = A[M, K] * B, B[n * ldn + k * ldk]
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

unsigned blocks(int n, int tile) { return static_cast<unsigned>((n + tile - 1) / tile); }

void run_simt(int M, int N, int K) {
    const auto A = testing::random_integers<float>((size_t)M * K, 1),
               B = testing::random_integers<float>((size_t)K * N, 2);
    std::vector<float> C((size_t)M * N, NAN);
    launch(gemm_simt<SimtBug::kNone>, {dim3(blocks(N, 32), blocks(M, 32)), dim3(64), sizeof(GemmSimt::Smem)}, nullptr,
           A.data(), B.data(), C.data(), M, N, K);
    expect_product(A, B, C, M, N, K, 1, N);
}

template <class T>
void run_mma(int M, int N, int K) {
    const auto A = testing::random_integers<T>((size_t)M * K, 1), B = testing::random_integers<T>((size_t)N * K, 2);
    std::vector<float> C((size_t)M * N, NAN);
    launch(gemm_mma<T, MmaBug::kNone>,
           {dim3(blocks(N, 64), blocks(M, 64)), dim3(128), sizeof(typename GemmMma<T>::Smem)}, nullptr, A.data(),
           B.data(), C.data(), M, N, K);
    expect_product(A, B, C, M, N, K, K, 1);
}

template <class T>
TensorMap matrix_map(const std::vector<T>& values, int rows, int columns, uint32_t box_rows) {
    TiledLayout l;
    l.tensor = {values.data(),
                sizeof(T) == 2 ? ElementType::kBFloat16 : ElementType::kFloat32,
                2,
                {(uint64_t)columns, (uint64_t)rows},
                {0, columns * sizeof(T)}};
    l.box = {64, box_rows};
    l.swizzle = Swizzle::k128B;
    return encode(l);
}

template <class T, int Cluster>
void run_wgmma(int M, int N, int K) {
    using G = GemmWgmma<T>;
    const auto A = testing::random_integers<T>((size_t)M * K, 1), B = testing::random_integers<T>((size_t)N * K, 2);
    std::vector<float> C((size_t)M * N, NAN);
    const unsigned across = blocks(static_cast<int>(blocks(M, G::kTileM)), Cluster) * Cluster;
    launch(gemm_wgmma<T, Cluster, WgmmaBug::kNone>,
           {dim3(across, blocks(N, G::kTileN)), dim3(G::kThreads), sizeof(typename G::Smem), dim3(Cluster)}, nullptr,
           matrix_map(A, M, K, G::kTileM), matrix_map(B, N, K, G::kTileN / Cluster), C.data(), M, N, K);
    expect_product(A, B, C, M, N, K, K, 1);
}

}  // namespace

TEST(gemm_simt_ragged) { run_simt(50, 37, 21); }
TEST(gemm_mma_bfloat16) { run_mma<__nv_bfloat16>(100, 72, 200); }
TEST(gemm_mma_float16) { run_mma<__half>(64, 64, 168); }
TEST(gemm_wgmma_one_block) { run_wgmma<__nv_bfloat16, 1>(150, 72, 456); }
TEST(gemm_wgmma_float16) { run_wgmma<__half, 1>(128, 64, 256); }
TEST(gemm_wgmma_cluster) { run_wgmma<__nv_bfloat16, 2>(200, 72, 456); }
