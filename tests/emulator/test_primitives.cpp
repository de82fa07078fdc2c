// Built-ins, barriers, warp collectives, atomics, clusters and launches, with one feature per test, and the words of
// errors.
#include <cctype>

#include "checks_cluster.h"

using namespace checks;

namespace {

__global__ void write_indices(int* out) {
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] += block * 1000 + thread;
}

__global__ void reverse_in_block(const int* in, int* out) {
    auto& s = dyn_smem<int[96]>();
    s[threadIdx.x] = in[blockIdx.x * 96 + threadIdx.x];
    __syncthreads();
    out[blockIdx.x * 96 + threadIdx.x] = s[95 - threadIdx.x];
}

__global__ void votes(int* out) {
    const int any = __syncthreads_or(threadIdx.x == 77), all = __syncthreads_and(threadIdx.x < 96);
    const int count = __syncthreads_count(threadIdx.x % 3 == 0);
    out[threadIdx.x] = any * 10000 + all * 1000 + count;
}

struct Ring {
    int value[2];
};

// One warp produces and one consumes. They use one named barrier in each direction.
__global__ void hand_over(int* out, int rounds) {
    auto& s = dyn_smem<Ring>();
    const bool producer = threadIdx.x < 32;
    for (int i = 0; i < rounds; ++i) {
        if (producer) {
            if (i > 0) ptx::bar_sync(2, 64);
            if (threadIdx.x == 0) s.value[0] = i * i;
            ptx::bar_arrive(1, 64);
        } else {
            ptx::bar_sync(1, 64);
            if (threadIdx.x == 32) out[i] = s.value[0];
            if (i + 1 < rounds) ptx::bar_arrive(2, 64);
        }
    }
}

__global__ void warp_collectives(int* out) {
    const int lane = threadIdx.x;
    int* o = out + lane * 8;
    o[0] = __shfl_sync(0xffffffffu, lane * 10, 5);
    o[1] = __shfl_xor_sync(0xffffffffu, lane, 3);
    o[2] = __shfl_down_sync(0xffffffffu, lane, 4, 8);
    o[3] = __shfl_up_sync(0xffffffffu, lane, 2);
    o[4] = static_cast<int>(__ballot_sync(0xffffffffu, lane % 3 == 0));
    o[5] = __any_sync(0xffffffffu, lane == 40) * 10 + __all_sync(0xffffffffu, lane < 32);
    // The two halves of the warp go different ways.
    o[6] = lane < 16 ? __shfl_sync(0x0000ffffu, lane, 3) : __shfl_sync(0xffff0000u, lane, 20);
    const double wide = __shfl_sync(0xffffffffu, lane + 0.5, 7);
    o[7] = static_cast<int>(wide * 2);
}

__global__ void atomics(float* sum, int* ints, unsigned long long* big) {
    atomicAdd(sum, 0.5f);
    atomicMax(&ints[0], static_cast<int>(threadIdx.x));
    atomicMin(&ints[1], -static_cast<int>(threadIdx.x));
    atomicOr(&ints[2], 1 << (threadIdx.x % 16));
    if (threadIdx.x == 9) atomicExch(&ints[3], 42);
    if (threadIdx.x == 9) atomicCAS(&ints[4], 0, 43);
    atomicAdd(big, 1ull << 40);
}

__global__ void transpose_by_ldmatrix(const uint16_t* in, uint16_t* out) {
    auto& s = dyn_smem<uint16_t[2][256]>();
    for (int i = threadIdx.x; i < 256; i += 32) s[0][i] = in[i];
    __syncwarp();
    uint32_t r[4];
    ptx::ldmatrix_x4<true>(r, ptx::smem_addr(&s[0][threadIdx.x * 8]));
    ptx::stmatrix_x4(ptx::smem_addr(&s[1][threadIdx.x * 8]), r);
    __syncwarp();
    for (int i = threadIdx.x; i < 256; i += 32) out[i] = s[1][i];
}

__global__ void deadlock(int) {
    auto& bar = dyn_smem<uint64_t>();
    if (threadIdx.x == 0) ptx::mbar_init(ptx::smem_addr(&bar), 3);
    __syncthreads();
    if (threadIdx.x < 32) {
        if (threadIdx.x == 0) ptx::mbar_arrive_expect_tx(ptx::smem_addr(&bar), 64);
        ptx::mbar_wait(ptx::smem_addr(&bar), 0);
    } else if (threadIdx.x < 60) {
        __syncthreads();
    }
}

__global__ void small_struct(int) { dyn_smem<double[4]>()[0] = 1; }
__global__ void nothing(int) {}
__global__ void throws_in_one_thread(int n) {
    if (blockIdx.x == 1 && static_cast<int>(threadIdx.x) == n) __trap();
    __syncthreads();
}

}  // namespace

TEST(grid_and_block_indices) {
    const dim3 grid(3, 2, 2), block(4, 3, 5);
    std::vector<int> out(12 * 60, 0);
    launch(write_indices, {grid, block}, nullptr, out.data());
    for (int i = 0; i < 12 * 60; ++i)
        testing::expect_equal(out[i], i / 60 * 1000 + i % 60, "index " + std::to_string(i));
}

TEST(block_barrier) {
    std::vector<int> in(960), out(960);
    for (int i = 0; i < 960; ++i) in[i] = i * 7;
    launch(reverse_in_block, {dim3(10), dim3(96), 96 * 4}, nullptr, in.data(), out.data());
    for (int i = 0; i < 960; ++i) testing::expect_equal(out[i], in[i / 96 * 96 + 95 - i % 96], "out");
}

TEST(block_votes) {
    std::vector<int> out(100);
    launch(votes, {dim3(1), dim3(100)}, nullptr, out.data());
    for (int v : out) testing::expect_equal(v, 10000 + 34, "or, and, count");
}

TEST(named_barriers) {
    std::vector<int> out(20, -1);
    launch(hand_over, {dim3(1), dim3(64), sizeof(Ring)}, nullptr, out.data(), 20);
    for (int i = 0; i < 20; ++i) testing::expect_equal(out[i], i * i, "round " + std::to_string(i));
}

TEST(shuffles_and_votes) {
    std::vector<int> out(32 * 8);
    launch(warp_collectives, {dim3(1), dim3(32)}, nullptr, out.data());
    for (int lane = 0; lane < 32; ++lane) {
        const int expected[8] = {50,
                                 lane ^ 3,
                                 lane % 8 + 4 < 8 ? lane + 4 : lane,
                                 lane >= 2 ? lane - 2 : lane,
                                 0x49249249,
                                 1,
                                 lane < 16 ? 3 : 20,
                                 15};
        for (int i = 0; i < 8; ++i)
            testing::expect_equal(out[lane * 8 + i], expected[i], "collective " + std::to_string(i));
    }
}

TEST(atomic_updates) {
    float sum = 0;
    int ints[5] = {};
    unsigned long long big = 0;
    launch(atomics, {dim3(6), dim3(50)}, nullptr, &sum, ints, &big);
    testing::expect_equal(sum, 150.0f, "sum");
    testing::expect_equal(ints[0] * 100 - ints[1], 4949, "maximum and minimum");
    testing::expect_equal(ints[2], 0xffff, "or");
    testing::expect_equal(ints[3] * 100 + ints[4], 4243, "exchange and compare-and-swap");
    testing::expect_equal(big, 300ull << 40, "64 bits");
}

TEST(ldmatrix_and_stmatrix) {
    uint16_t in[256], out[256];
    for (int i = 0; i < 256; ++i) in[i] = static_cast<uint16_t>(i * 77);
    launch(transpose_by_ldmatrix, {dim3(1), dim3(32), 1024}, nullptr, in, out);
    for (int i = 0; i < 256; ++i) {
        testing::expect_equal(out[i], in[i / 64 * 64 + i % 8 * 8 + i / 8 % 8], "element " + std::to_string(i));
    }
}

TEST(distributed_shared_memory) { check_cluster_memory(); }
TEST(multicast) { check_multicast(); }
TEST(arrivals_at_another_block) { check_remote_arrivals(); }
TEST(one_lane_is_elected) { check_elections(); }
TEST(registers_change_hands) { check_register_shares(); }

TEST(deadlock_report) {
    const auto run = [] { launch(deadlock, {dim3(1), dim3(64), 8}, nullptr, 0); };
    testing::expect_error(run, "deadlock: 60 threads wait forever");
    testing::expect_error(
        run,
        "block (0,0,0): 32 threads, (0,0,0) to (31,0,0), in mbarrier.try_wait 0x400 (phase 0 lacks 2 of 3 "
        "arrivals and 64 bytes)");
    testing::expect_error(run, "28 threads, (32,0,0) to (59,0,0), in __syncthreads");
}

TEST(launch_rules) {
    testing::expect_error([] { launch(nothing, {dim3(1), dim3(1025)}, nullptr, 0); },
                          "1 to 1024 threads per block, got 1025");
    testing::expect_error([] { launch(nothing, {dim3(0), dim3(32)}, nullptr, 0); }, "launch: expected a grid");
    testing::expect_error([] { launch(nothing, {dim3(3), dim3(32), 0, dim3(2)}, nullptr, 0); },
                          "a multiple of the cluster");
    testing::expect_error([] { launch(nothing, {dim3(1), dim3(32), 228 << 10}, nullptr, 0); },
                          "bytes of shared memory, got 233472");
    testing::expect_error([] { launch(small_struct, {dim3(1), dim3(32), 16}, nullptr, 0); },
                          "dyn_smem: a struct of 32 bytes, launched with 16");
}

TEST(smaller_machine) {
    const size_t before = emulator::config().max_shared_bytes;
    emulator::config().max_shared_bytes = 99 << 10;  // as on compute capability 8.6
    testing::expect_error([] { launch(nothing, {dim3(1), dim3(32), (99 << 10) + 1}, nullptr, 0); },
                          "at most 101376 bytes of shared memory, got 101377");
    emulator::config().max_shared_bytes = before;
    launch(nothing, {dim3(1), dim3(32), (99 << 10) + 1}, nullptr, 0);
}

// An error leaves other threads where they were. The next launch must not notice this.
TEST(launches_after_an_error) {
    for (int n = 0; n < 3; ++n) {
        testing::expect_error([n] { launch(throws_in_one_thread, {dim3(4), dim3(64)}, nullptr, n * 20); },
                              "block (1,0,0) thread (" + std::to_string(n * 20) + ",0,0): __trap");
        block_barrier();
    }
}
