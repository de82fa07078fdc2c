// Passes one box through the tensor memory accelerator, byte for byte. There is one block, whose thread 0 issues. In
// load_*, `out` receives the raw bytes of shared memory, swizzle and all. In store_box, the raw bytes of `in` go
// through shared memory to the tensor.
#pragma once
#include "../../../csrc/device/ptx.h"

namespace samples {

using convgpu::dyn_smem;
using convgpu::TensorMap;
namespace ptx = convgpu::ptx;

constexpr int kMaxBoxBytes = 32 << 10;

struct BoxSmem {
    uint8_t data[kMaxBoxBytes];
    uint64_t bar;
};

template <int Rank>
struct Position {
    int at[Rank];
};

__device__ __forceinline__ uint32_t expect_box(BoxSmem& s, int bytes) {
    const uint32_t bar = ptx::smem_addr(&s.bar);
    if (threadIdx.x == 0) {
        ptx::mbar_init(bar, 1);
        ptx::fence_mbar_init();
        ptx::mbar_arrive_expect_tx(bar, bytes);
    }
    __syncthreads();
    return bar;
}

__device__ __forceinline__ void copy_out(BoxSmem& s, uint32_t bar, uint8_t* out, int bytes) {
    ptx::mbar_wait(bar, 0);
    for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = s.data[i];
}

template <int Rank>
__global__ void load_box(const __grid_constant__ TensorMap map, Position<Rank> p, uint8_t* out, int bytes) {
    auto& s = dyn_smem<BoxSmem>();
    const uint32_t bar = expect_box(s, bytes);
    if (threadIdx.x == 0) ptx::tma_load(ptx::smem_addr(s.data), &map, bar, p.at);
    copy_out(s, bar, out, bytes);
}

template <int Rank>
__global__ void load_im2col(const __grid_constant__ TensorMap map, Position<Rank> p, Position<Rank - 2> tap,
                            uint8_t* out, int bytes) {
    auto& s = dyn_smem<BoxSmem>();
    const uint32_t bar = expect_box(s, bytes);
    if (threadIdx.x == 0) ptx::tma_load_im2col(ptx::smem_addr(s.data), &map, bar, p.at, tap.at);
    copy_out(s, bar, out, bytes);
}

template <int Rank>
__global__ void store_box(const __grid_constant__ TensorMap map, Position<Rank> p, const uint8_t* in, int bytes) {
    auto& s = dyn_smem<BoxSmem>();
    for (int i = threadIdx.x; i < bytes; i += blockDim.x) s.data[i] = in[i];
    ptx::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x) return;
    ptx::tma_store(&map, ptx::smem_addr(s.data), p.at);
    ptx::tma_store_commit();
    ptx::tma_store_wait<0>();
}

}  // namespace samples
