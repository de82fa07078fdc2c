// Each of these kernels tries one thing that the blocks of a cluster share, or that the threads of a block do with its
// registers.
#pragma once
#include "tma_box.cuh"

namespace samples {

// Writes to out[thread] how often elect_one chose the thread, if it is asked `times` times.
__global__ void count_elections(int* out, int times) {
    int elected = 0;
    for (int i = 0; i < times; ++i) elected += ptx::elect_one();
    out[threadIdx.x] = elected;
}

// Runs a ring of four blocks. out[block] is what the block before it has written into this block: 100 + the rank that
// the other block had read.
__global__ void pass_around_cluster(float* out) {
    auto& s = dyn_smem<float[2]>();
    const uint32_t rank = ptx::cluster_rank(), next = (rank + 1) % 4;
    if (threadIdx.x == 0) s[0] = static_cast<float>(100 + rank);
    ptx::cluster_sync();
    const float got = ptx::ld_cluster(ptx::mapa(ptx::smem_addr(&s[0]), next));
    if (threadIdx.x == 0) ptx::st_cluster(ptx::mapa(ptx::smem_addr(&s[1]), next), got);
    ptx::cluster_sync();
    if (threadIdx.x == 0) out[blockIdx.x] = s[1];
    if (threadIdx.x == 32) out[gridDim.x + blockIdx.x] = got;
}

// Runs two blocks. Each asks for its half of the box, which is `rows` lines, and both blocks get both halves, byte for
// byte as in tma_box.cuh.
__global__ void multicast_halves(const __grid_constant__ TensorMap map, uint8_t* out, int rows, int line_bytes) {
    auto& s = dyn_smem<BoxSmem>();
    const int rank = static_cast<int>(ptx::cluster_rank()), half = rows * line_bytes;
    const uint32_t bar = expect_box(s, 2 * half);
    ptx::cluster_sync();  // the barrier of a block must expect bytes before the other block asks for them
    if (threadIdx.x == 0) ptx::tma_load_multicast(ptx::smem_addr(s.data) + rank * half, &map, bar, 3, {0, rank * rows});
    copy_out(s, bar, out + blockIdx.x * 2 * half, 2 * half);
    ptx::cluster_sync();
}

// Runs two blocks. In every round, one thread of each block arrives at the barriers of both. out[block] counts the
// rounds.
__global__ void arrive_at_each_other(int* out, int rounds) {
    auto& bar = dyn_smem<uint64_t>();
    const uint32_t own = ptx::smem_addr(&bar);
    if (threadIdx.x == 0) {
        ptx::mbar_init(own, 2);
        ptx::fence_mbar_init();
    }
    ptx::cluster_sync();
    if (threadIdx.x == 0) {
        int passed = 0;
        for (int i = 0; i < rounds; ++i, ++passed) {
            for (int block = 0; block < 2; ++block) ptx::mbar_arrive_cluster(ptx::mapa(own, block));
            ptx::mbar_wait(own, i & 1);
        }
        out[blockIdx.x] = passed;
    }
    __syncwarp();
    ptx::cluster_sync();
}

// Runs three warpgroups. The first gives registers away, and writes one element of `in` for each thread. The others
// take registers: they keep 96 elements from `in` on at the same time, and write a sum of their products.
__global__ void __launch_bounds__(384, 1) move_registers(const float* in, float* out) {
    if (threadIdx.x < 128) {
        ptx::setmaxnreg_dec<56>();
        out[threadIdx.x] = in[threadIdx.x];
    } else {
        ptx::setmaxnreg_inc<224>();
        float kept[96], sum = 0;
#pragma unroll
        for (int i = 0; i < 96; ++i) kept[i] = in[threadIdx.x + i];
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 96; ++i) sum += kept[i] * kept[95 - i];
        out[threadIdx.x] = sum;
    }
}

}  // namespace samples
