// Instantiates, for nvcc, the sample kernels for Hopper. It also launches one, so that the host side is compiled too.
#include "kernels/dot.cuh"
#include "kernels/gemm_wgmma.cuh"
#include "kernels/tma_box.cuh"
#include "kernels/wgmma_tile.cuh"

namespace samples {

using bf16 = __nv_bfloat16;
#define MAP const __grid_constant__ TensorMap

template __global__ void gemm_wgmma<bf16, 1, WgmmaBug::kNone>(MAP, MAP, float*, int, int, int);
template __global__ void gemm_wgmma<__half, 2, WgmmaBug::kNone>(MAP, MAP, float*, int, int, int);

template __global__ void wgmma_tile<bf16, 64, false, false, Swizzle::k128B, false>(MAP, MAP, float*);
template __global__ void wgmma_tile<bf16, 96, true, true, Swizzle::k64B, false>(MAP, MAP, float*);
template __global__ void wgmma_tile<__half, 256, false, true, Swizzle::k32B, false>(MAP, MAP, float*);
template __global__ void wgmma_tile<__half, 8, false, true, Swizzle::kNone, true>(MAP, MAP, float*);
template __global__ void wgmma_tile<ptx::Tf32, 128, false, false, Swizzle::k128B, false>(MAP, MAP, float*);
template __global__ void wgmma_tile<ptx::Tf32, 192, false, false, Swizzle::kNone, true>(MAP, MAP, float*);
template __global__ void dot_wgmma<bf16>(const uint16_t*, const uint16_t*, const float*, float*, int);

#define LOAD_AND_STORE(RANK)                                                     \
    template __global__ void load_box<RANK>(MAP, Position<RANK>, uint8_t*, int); \
    template __global__ void store_box<RANK>(MAP, Position<RANK>, const uint8_t*, int)
LOAD_AND_STORE(1);
LOAD_AND_STORE(2);
LOAD_AND_STORE(3);
LOAD_AND_STORE(4);
LOAD_AND_STORE(5);
template __global__ void load_im2col<3>(MAP, Position<3>, Position<1>, uint8_t*, int);
template __global__ void load_im2col<4>(MAP, Position<4>, Position<2>, uint8_t*, int);
template __global__ void load_im2col<5>(MAP, Position<5>, Position<3>, uint8_t*, int);

void launch_one(const bf16* values, float* c) {
    convgpu::TiledLayout layout;
    layout.tensor = {values, convgpu::ElementType::kBFloat16, 2, {64, 128}, {0, 128}};
    layout.box = {64, 128};
    layout.swizzle = Swizzle::k128B;
    const TensorMap map = convgpu::encode(layout);
    convgpu::launch(gemm_wgmma<bf16, 1, WgmmaBug::kNone>, {dim3(1), dim3(384), sizeof(GemmWgmma<bf16>::Smem)}, nullptr,
                    map, map, c, 128, 64, 64);
}

}  // namespace samples
