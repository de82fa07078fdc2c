// One product on Hopper's GEMM as a shared library of its own, so that bench/variants.py can compile it from changed
// sources and time several side by side in one process: bfloat16, tiles of 128 x 256, clusters of two, no splits.
#if __has_include("gemm/wgmma/gemm_wgmma.cuh")
#include "gemm/wgmma/gemm_wgmma.cuh"
#else
#include "gemm/gemm_wgmma.cuh"
#endif
#include <cstdio>

// y = a * b, row-major: M x K, K x N, M x N. 0, or 1 after a message on stderr.
extern "C" __attribute__((visibility("default"))) int gemm_variant(const void* a, const void* b, void* y, int M, int N,
                                                                   int K, int multiprocessors, void* stream) {
    using namespace convgpu;
    using T = __nv_bfloat16;
    try {
        const auto* left = static_cast<const T*>(a);
        const auto* right = static_cast<const T*>(b);
        const gemm::Problem<T, false, false> problem{{left, K, 0}, {right, N, 0}, {static_cast<T*>(y), N, 0}, M, N, K,
                                                     {},           true};
        hopper::Plan plan;
        plan.tile_n = 256;
        plan.cluster = 2;
        plan.splits = 1;
        Device device{};
        device.arch = 90;
        device.multiprocessors = multiprocessors;
        const hopper::Maps<T> map_a{{hopper::panels_of(left, 1, M, K, K, 0)}};
        const hopper::Maps<T> map_b{{hopper::panels_of(right, 1, K, N, N, 0)}};
        const hopper::ResultMap results = hopper::map_of(problem.y.data, {N, M, 1, 1, N, 0, 0}, M);
        const hopper::Size size{M, N, K, 1};
        hopper::launch_tiles<T, 256, 2, false>(gemm::gemm_wgmma<T, 256, 2, false, false>, size, plan, device, {},
                                               static_cast<Stream>(stream), map_a, map_b, results, problem);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "gemm_variant: %s\n", error.what());
        return 1;
    }
}
