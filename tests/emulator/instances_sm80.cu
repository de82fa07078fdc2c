// Instantiates, for nvcc, the sample kernels that run on any GPU since Ampere.
#include "kernels/dot.cuh"
#include "kernels/gemm_mma.cuh"
#include "kernels/gemm_simt.cuh"

namespace samples {

using bf16 = __nv_bfloat16;

template __global__ void gemm_simt<SimtBug::kNone>(const float*, const float*, float*, int, int, int);
template __global__ void gemm_mma<bf16, MmaBug::kNone>(const bf16*, const bf16*, float*, int, int, int);
template __global__ void gemm_mma<__half, MmaBug::kNone>(const __half*, const __half*, float*, int, int, int);
template __global__ void dot_mma<bf16>(const uint16_t*, const uint16_t*, const float*, float*, int);
template __global__ void dot_mma<ptx::Tf32>(const uint32_t*, const uint32_t*, const float*, float*, int);

}  // namespace samples
