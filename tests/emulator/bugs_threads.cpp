// Planted bugs in threads that share memory: bounds, alignment, barriers, warps and races.
#include "../../csrc/device/ptx.h"
#include "kernels/gemm_simt.cuh"
#include "planting.h"

namespace {

using namespace convgpu;

struct alignas(16) Smem {
    float x[128];
};

template <bool Planted>
__global__ void shared_overflow(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    s.x[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    const int i = 127 - threadIdx.x;
    out[threadIdx.x] = s.x[Planted && i == 0 ? 128 : i];
}
BUG(shared_overflow, sizeof(Smem));

template <bool Planted>
__global__ void global_overflow(float* out, const float* in) {
    out[threadIdx.x] = in[(Planted ? 128 : 127) - threadIdx.x];
}
BUG(global_overflow, 0);

template <bool Planted>
__global__ void misaligned_vector(float* out, const float* in) {
    if (threadIdx.x % 4) return;
    const int i = threadIdx.x, shift = Planted && i == 0 ? 1 : 0;
    const float4 v = *reinterpret_cast<const float4*>(in + 124 - i - shift);
    out[i] = v.w, out[i + 1] = v.z, out[i + 2] = v.y, out[i + 3] = v.x;
}
BUG(misaligned_vector, 0);

template <bool Planted>
__global__ void uninitialised_shared(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    if (threadIdx.x < (Planted ? 127 : 128)) s.x[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s.x[127 - threadIdx.x];
}
BUG(uninitialised_shared, sizeof(Smem));

template <bool Planted>
__global__ void divergent_barrier(float* out, const float* in) {
    if (!Planted || threadIdx.x < 96) __syncthreads();
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(divergent_barrier, 0);

template <bool Planted>
__global__ void missing_barrier(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    s.x[threadIdx.x] = in[threadIdx.x];
    if (!Planted) __syncthreads();
    out[threadIdx.x] = s.x[127 - threadIdx.x];
}
BUG(missing_barrier, sizeof(Smem));

template <bool Planted>
__global__ void write_after_read(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    for (int round = 0; round < 2; ++round) {
        s.x[threadIdx.x] = in[threadIdx.x];
        __syncthreads();
        out[threadIdx.x] = s.x[127 - threadIdx.x];
        if (!Planted) __syncthreads();
        s.x[threadIdx.x] = -1;
        __syncthreads();
    }
}
BUG(write_after_read, sizeof(Smem));

template <bool Planted>
__global__ void missing_syncwarp(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    s.x[threadIdx.x] = in[127 - threadIdx.x];
    if (!Planted) __syncwarp();
    const float neighbour = s.x[threadIdx.x ^ 1];
    __syncwarp();
    s.x[threadIdx.x ^ 1] = neighbour;
    __syncwarp();
    out[threadIdx.x] = s.x[threadIdx.x];
}
BUG(missing_syncwarp, sizeof(Smem));

// Every thread writes the same value. That does no harm until a compiler or a later change makes the values differ.
template <bool Planted>
__global__ void same_value_race(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    if (Planted || threadIdx.x == 0) s.x[0] = 7;
    __syncthreads();
    out[threadIdx.x] = s.x[0] - 7 + in[127 - threadIdx.x];
}
BUG(same_value_race, sizeof(Smem));

template <bool Planted>
__global__ void lost_update(float* out, const float* in) {
    if (threadIdx.x == 0) out[0] = 0;
    __syncthreads();
    if (Planted) {
        out[0] = out[0] + 1;
    } else {
        atomicAdd(&out[0], 1.0f);
    }
    if (threadIdx.x) out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(lost_update, 0);

template <bool Planted>
__global__ void shuffle_outside_mask(float* out, const float* in) {
    float v = in[127 - threadIdx.x];
    if (threadIdx.x % 32 < 16) v += 0 * __shfl_down_sync(0xffffu, v, 8, Planted ? 32 : 16);
    out[threadIdx.x] = v;
}
BUG(shuffle_outside_mask, 0);

template <bool Planted>
__global__ void lane_outside_own_mask(float* out, const float* in) {
    __syncwarp(Planted ? 0x7fffffffu : 0xffffffffu);
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(lane_outside_own_mask, 0);

template <bool Planted>
__global__ void lanes_in_different_instructions(float* out, const float* in) {
    if (Planted && threadIdx.x % 32 == 31) {
        __ballot_sync(0xffffffffu, 1);
    } else {
        __syncwarp();
    }
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(lanes_in_different_instructions, 0);

template <bool Planted>
__global__ void misaligned_ldmatrix(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    s.x[threadIdx.x] = in[127 - threadIdx.x];
    __syncthreads();
    if (threadIdx.x >= 32) return;
    uint32_t r[4];
    const int row = threadIdx.x == 31 && Planted ? 30 * 4 + 2 : threadIdx.x * 4;
    ptx::ldmatrix_x4(r, ptx::smem_addr(&s.x[row]));
    for (int i = 0; i < 4; ++i) out[i * 32 + threadIdx.x] = __uint_as_float(r[i]);
}
BUG(misaligned_ldmatrix, sizeof(Smem));

template <bool Planted>
__global__ void barrier_with_two_counts(float* out, const float* in) {
    ptx::bar_sync(1, Planted && threadIdx.x >= 64 ? 96 : 128);
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(barrier_with_two_counts, 0);

template <samples::SimtBug Bug>
void run_gemm_simt() {
    using samples::GemmSimt;
    const int n = 32, k = 24;
    const auto a = testing::random_integers<float>(n * k, 1), b = testing::random_integers<float>(k * n, 2);
    std::vector<float> c(n * n, NAN);
    launch(samples::gemm_simt<Bug>, {dim3(1), dim3(GemmSimt::kThreads), sizeof(GemmSimt::Smem)}, nullptr, a.data(),
           b.data(), c.data(), n, n, k);
    for (int i = 0; i < n * n; ++i) {
        float sum = 0;
        for (int j = 0; j < k; ++j) sum += a[i / n * k + j] * b[j * n + i % n];
        testing::expect_equal(c[i], sum, "wrong result: c[" + std::to_string(i) + "]");
    }
}
const bool gemm_simt_added =
    planting::add("gemm_simt_no_barrier_after_use", run_gemm_simt<samples::SimtBug::kNoBarrierAfterUse>,
                  run_gemm_simt<samples::SimtBug::kNone>);

}  // namespace

int main(int argc, char** argv) { return planting::run_bugs(argc, argv); }
