// Planted bugs in asynchronous work: cp.async, mbarriers, TMA, wgmma and clusters.
#include "kernels/gemm_mma.cuh"
#include "kernels/gemm_wgmma.cuh"
#include "planting.h"

namespace {

using namespace convgpu;

struct alignas(1024) Smem {
    float x[128];
    float y[128];
    uint64_t bar;
};

__device__ void copy_own_float(Smem& s, const float* in) {
    ptx::cp_async<4>(ptx::smem_addr(&s.x[threadIdx.x]), in + threadIdx.x);
    ptx::cp_async_commit();
}

template <bool Planted>
__global__ void copy_never_waited(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    copy_own_float(s, in);
    if (!Planted) ptx::cp_async_wait<0>();
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(copy_never_waited, sizeof(Smem));

template <bool Planted>
__global__ void copy_without_barrier(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    copy_own_float(s, in);
    ptx::cp_async_wait<0>();
    if (!Planted) __syncthreads();
    out[threadIdx.x] = s.x[127 - threadIdx.x];
}
BUG(copy_without_barrier, sizeof(Smem));

template <bool Planted>
__global__ void misaligned_copy(float* out, const float* in) {
    auto& s = dyn_smem<Smem>();
    if (threadIdx.x < 32)
        ptx::cp_async<16>(ptx::smem_addr(&s.x[threadIdx.x * 4]), in + threadIdx.x * 4 - (Planted && threadIdx.x == 5));
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    out[threadIdx.x] = s.x[127 - threadIdx.x];
}
BUG(misaligned_copy, sizeof(Smem));

template <bool Planted>
__global__ void mbarrier_wrong_count(float* out, const float* in) {
    const uint32_t bar = ptx::smem_addr(&dyn_smem<Smem>().bar);
    if (threadIdx.x == 0) ptx::mbar_init(bar, Planted ? 129 : 128);
    __syncthreads();
    ptx::mbar_arrive(bar);
    ptx::mbar_wait(bar, 0);
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(mbarrier_wrong_count, sizeof(Smem));

template <bool Planted>
__global__ void mbarrier_init_unordered(float* out, const float* in) {
    const uint32_t bar = ptx::smem_addr(&dyn_smem<Smem>().bar);
    if (threadIdx.x == 0) ptx::mbar_init(bar, 128);
    if (!Planted) __syncthreads();
    ptx::mbar_arrive(bar);
    ptx::mbar_wait(bar, 0);
    out[threadIdx.x] = in[127 - threadIdx.x];
}
BUG(mbarrier_init_unordered, sizeof(Smem));

// ---- TMA: in and out as one row of 128 floats each
// -------------------------------------------------------------------
TensorMap row_map(const float* p) {
    TiledLayout l;
    l.tensor = {p, ElementType::kFloat32, 1, {128}, {}};
    l.box = {128};
    return encode(l);
}

using TmaKernel = void(float* out, const TensorMap in_map, const TensorMap out_map);

template <TmaKernel* kernel>
void run_tma() {
    const planting::Buffer in = planting::buffer(128), out = planting::buffer(128);
    for (int i = 0; i < 128; ++i) in.get()[i] = static_cast<float>(i + 1), out.get()[i] = NAN;
    launch(kernel, {dim3(1), dim3(128), sizeof(Smem)}, nullptr, out.get(), row_map(in.get()), row_map(out.get()));
    planting::expect_reversed(out.get());
}

#define TMA_BUG(KERNEL) \
    static const bool KERNEL##_added = planting::add(#KERNEL, run_tma<KERNEL<true>>, run_tma<KERNEL<false>>)

__device__ void load_row(Smem& s, const TensorMap* map, uint32_t expected_bytes) {
    const uint32_t bar = ptx::smem_addr(&s.bar);
    if (threadIdx.x == 0) {
        ptx::mbar_init(bar, 1);
        ptx::fence_mbar_init();
        ptx::mbar_arrive_expect_tx(bar, expected_bytes);
        ptx::tma_load(ptx::smem_addr(s.x), map, bar, {0});
    }
    __syncthreads();
}

template <bool Planted>
__global__ void load_not_waited(float* out, const __grid_constant__ TensorMap in_map,
                                const __grid_constant__ TensorMap) {
    auto& s = dyn_smem<Smem>();
    load_row(s, &in_map, 512);
    if (!Planted) ptx::mbar_wait(ptx::smem_addr(&s.bar), 0);
    out[threadIdx.x] = s.x[127 - threadIdx.x];
}
TMA_BUG(load_not_waited);

template <bool Planted>
__global__ void wrong_expected_bytes(float* out, const __grid_constant__ TensorMap in_map,
                                     const __grid_constant__ TensorMap) {
    auto& s = dyn_smem<Smem>();
    load_row(s, &in_map, Planted ? 256 : 512);
    ptx::mbar_wait(ptx::smem_addr(&s.bar), 0);
    out[threadIdx.x] = s.x[127 - threadIdx.x];
}
TMA_BUG(wrong_expected_bytes);

template <bool Planted>
__global__ void store_source_overwritten(float*, const __grid_constant__ TensorMap in_map,
                                         const __grid_constant__ TensorMap out_map) {
    auto& s = dyn_smem<Smem>();
    load_row(s, &in_map, 512);
    ptx::mbar_wait(ptx::smem_addr(&s.bar), 0);
    s.y[threadIdx.x] = s.x[127 - threadIdx.x];
    ptx::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x) return;
    ptx::tma_store(&out_map, ptx::smem_addr(s.y), {0});
    ptx::tma_store_commit();
    if (!Planted) ptx::tma_store_wait_read<0>();
    s.y[0] = -1;
    ptx::tma_store_wait_read<0>();
}
TMA_BUG(store_source_overwritten);

template <bool Planted>
__global__ void store_never_waited(float*, const __grid_constant__ TensorMap in_map,
                                   const __grid_constant__ TensorMap out_map) {
    auto& s = dyn_smem<Smem>();
    load_row(s, &in_map, 512);
    ptx::mbar_wait(ptx::smem_addr(&s.bar), 0);
    s.y[threadIdx.x] = s.x[127 - threadIdx.x];
    ptx::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x) return;
    ptx::tma_store(&out_map, ptx::smem_addr(s.y), {0});
    ptx::tma_store_commit();
    if (!Planted) ptx::tma_store_wait_read<0>();
}
TMA_BUG(store_never_waited);

// ---- wgmma: D[64, 8] = A * B with ones in A's first column and B's first row
// ------------------------------------------
struct alignas(1024) WgmmaSmem {
    __nv_bfloat16 a[64 * 16], b[8 * 16];  // K-major without swizzle: chunks of 8 rows x 8 k
};
enum class Slip { kNone, kNoFence, kReadBeforeWait, kOverwriteA, kNeverWaited };

template <Slip slip>
__global__ void small_wgmma(float* out) {
    auto& s = dyn_smem<WgmmaSmem>();
    for (int i = threadIdx.x; i < 64 * 16; i += 128) s.a[i] = __nv_bfloat16(1.0f);
    s.b[threadIdx.x] = __nv_bfloat16(1.0f);
    ptx::fence_proxy_async();
    __syncthreads();
    float d[4] = {};
    uint32_t a[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};  // all elements are 1
    if (slip != Slip::kNoFence) ptx::wgmma_fence();
    ptx::wgmma<__nv_bfloat16, 8>(d, a, ptx::matrix_descriptor(ptx::smem_addr(s.b), 128, 256, Swizzle::kNone), true);
    ptx::wgmma_commit();
    if (slip == Slip::kOverwriteA) a[0] = 0;
    if (slip == Slip::kReadBeforeWait) out[threadIdx.x] = d[0];
    if (slip != Slip::kNeverWaited) ptx::wgmma_wait<0>();
    if (slip != Slip::kReadBeforeWait) out[threadIdx.x] = d[0];
}

template <Slip slip>
void run_wgmma() {
    std::vector<float> out(128, NAN);
    launch(small_wgmma<slip>, {dim3(1), dim3(128), sizeof(WgmmaSmem)}, nullptr, out.data());
    for (float v : out) testing::expect_equal(v, 16.0f, "wrong result");
}
const bool no_fence_added = planting::add("wgmma_without_fence", run_wgmma<Slip::kNoFence>, run_wgmma<Slip::kNone>);
const bool read_added =
    planting::add("accumulators_read_early", run_wgmma<Slip::kReadBeforeWait>, run_wgmma<Slip::kNone>);
const bool overwrite_added =
    planting::add("a_registers_overwritten", run_wgmma<Slip::kOverwriteA>, run_wgmma<Slip::kNone>);
const bool unwaited_added = planting::add("wgmma_never_waited", run_wgmma<Slip::kNeverWaited>, run_wgmma<Slip::kNone>);

// ---- Clusters
// --------------------------------------------------------------------------------------------------------
template <bool Planted>
__global__ void read_neighbour(float* out) {
    auto& s = dyn_smem<Smem>();
    const uint32_t rank = ptx::cluster_rank(), next = (rank + 1) % 2;
    s.x[threadIdx.x] = static_cast<float>(rank * 128 + threadIdx.x);
    if (!Planted) ptx::cluster_sync();
    out[rank * 128 + threadIdx.x] = ptx::ld_cluster(ptx::mapa(ptx::smem_addr(&s.x[threadIdx.x]), next));
    ptx::cluster_sync();
}

template <bool Planted>
void run_cluster() {
    std::vector<float> out(256, NAN);
    launch(read_neighbour<Planted>, {dim3(2), dim3(128), sizeof(Smem), dim3(2)}, nullptr, out.data());
    for (int i = 0; i < 256; ++i) testing::expect_equal(out[i], static_cast<float>((i + 128) % 256), "wrong result");
}
const bool cluster_added = planting::add("missing_cluster_barrier", run_cluster<true>, run_cluster<false>);

// ---- Pipelines, deeper than their rings
// ------------------------------------------------------------------------------
void expect_gemm(const std::vector<__nv_bfloat16>& a, const std::vector<__nv_bfloat16>& b, const std::vector<float>& c,
                 int n, int k) {
    for (size_t i = 0; i < c.size(); ++i) {
        float sum = 0;
        for (int j = 0; j < k; ++j) sum += float(a[i / n * k + j]) * float(b[i % n * k + j]);
        testing::expect_equal(c[i], sum, "wrong result: c[" + std::to_string(i) + "]");
    }
}

template <samples::MmaBug Bug>
void run_gemm_mma() {
    using G = samples::GemmMma<__nv_bfloat16>;
    const int n = 64, k = 200;
    const auto a = testing::random_integers<__nv_bfloat16>(n * k, 1),
               b = testing::random_integers<__nv_bfloat16>(n * k, 2);
    std::vector<float> c(n * n, NAN);
    launch(samples::gemm_mma<__nv_bfloat16, Bug>, {dim3(1), dim3(G::kThreads), sizeof(G::Smem)}, nullptr, a.data(),
           b.data(), c.data(), n, n, k);
    expect_gemm(a, b, c, n, k);
}
const bool weak_wait_added =
    planting::add("gemm_mma_weak_wait", run_gemm_mma<samples::MmaBug::kWeakWait>, run_gemm_mma<samples::MmaBug::kNone>);
const bool no_barrier_added = planting::add("gemm_mma_no_barrier", run_gemm_mma<samples::MmaBug::kNoBarrier>,
                                            run_gemm_mma<samples::MmaBug::kNone>);

TensorMap matrix_map(const std::vector<__nv_bfloat16>& v, int rows, int columns, uint32_t box_rows) {
    TiledLayout l;
    l.tensor = {v.data(), ElementType::kBFloat16, 2, {(uint64_t)columns, (uint64_t)rows}, {0, (uint64_t)columns * 2}};
    l.box = {64, box_rows};
    l.swizzle = Swizzle::k128B;
    return encode(l);
}

template <samples::WgmmaBug Bug>
void run_gemm_wgmma() {
    using G = samples::GemmWgmma<__nv_bfloat16>;
    const int m = 128, n = 64, k = 456;
    const auto a = testing::random_integers<__nv_bfloat16>(m * k, 1),
               b = testing::random_integers<__nv_bfloat16>(n * k, 2);
    std::vector<float> c(m * n, NAN);
    launch(samples::gemm_wgmma<__nv_bfloat16, 1, Bug>, {dim3(1), dim3(G::kThreads), sizeof(G::Smem)}, nullptr,
           matrix_map(a, m, k, G::kTileM), matrix_map(b, n, k, G::kTileN), c.data(), m, n, k);
    expect_gemm(a, b, c, n, k);
}
const bool full_added = planting::add("gemm_wgmma_no_full_wait", run_gemm_wgmma<samples::WgmmaBug::kNoFullWait>,
                                      run_gemm_wgmma<samples::WgmmaBug::kNone>);
const bool release_added = planting::add("gemm_wgmma_early_release", run_gemm_wgmma<samples::WgmmaBug::kEarlyRelease>,
                                         run_gemm_wgmma<samples::WgmmaBug::kNone>);
const bool early_read_added =
    planting::add("gemm_wgmma_read_before_wait", run_gemm_wgmma<samples::WgmmaBug::kReadBeforeWait>,
                  run_gemm_wgmma<samples::WgmmaBug::kNone>);

}  // namespace

int main(int argc, char** argv) { return planting::run_bugs(argc, argv); }
