// Whole kernels, which use every feature together, and problems deeper than every pipeline. They are compared with a
// plain sum of exact numbers.
#include "checks_gemm.h"
#include "kernels/gemm_mma.cuh"
#include "kernels/gemm_simt.cuh"

using namespace checks;

namespace {

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

}  // namespace

TEST(gemm_simt_ragged) { run_simt(50, 37, 21); }
TEST(gemm_mma_bfloat16) { run_mma<__nv_bfloat16>(100, 72, 200); }
TEST(gemm_mma_float16) { run_mma<__half>(64, 64, 168); }
TEST(gemm_wgmma_one_block) { check_gemm_wgmma<__nv_bfloat16, 1>(150, 72, 456); }
TEST(gemm_wgmma_float16) { check_gemm_wgmma<__half, 1>(128, 64, 256); }
TEST(gemm_wgmma_cluster) { check_gemm_wgmma<__nv_bfloat16, 2>(200, 72, 456); }
