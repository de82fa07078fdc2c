// Kernels see the machine through this header alone. Under nvcc it includes CUDA's headers; under any other compiler it
// includes the emulator's. Both give the built-ins of CUDA C++, dyn_smem, and launch.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <string>
#else
#include "../emulator/builtins.h"
#include "../emulator/grid.h"
#include "../emulator/tensor_map.h"
#endif
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace convgpu {

struct LaunchShape {
    dim3 grid, block;
    size_t shared_bytes = 0;
    dim3 cluster = dim3(1, 1, 1);
};

using Stream = cudaStream_t;

#ifdef __CUDACC__

// Returns the block's dynamic shared memory as one struct (or array) T. Its size is the shared_bytes of the launch.
template <class T>
__device__ __forceinline__ T& dyn_smem() {
    extern __shared__ __align__(1024) unsigned char convgpu_dynamic_shared_memory[];
    return *reinterpret_cast<T*>(convgpu_dynamic_shared_memory);
}

inline void check_cuda(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Starts kernel(arguments...) on the stream. Throws if the launch itself is refused.
template <class... P, class... A>
void launch(void (*kernel)(P...), const LaunchShape& shape, Stream stream, A&&... arguments) {
    constexpr size_t kWithoutOptIn = 48 << 10;
    if (shape.shared_bytes > kWithoutOptIn) {
        check_cuda(
            cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shape.shared_bytes)),
            "launch: shared memory");
    }
    cudaLaunchAttribute cluster[1];
    cluster[0].id = cudaLaunchAttributeClusterDimension;
    cluster[0].val.clusterDim.x = shape.cluster.x;
    cluster[0].val.clusterDim.y = shape.cluster.y;
    cluster[0].val.clusterDim.z = shape.cluster.z;
    cudaLaunchConfig_t config{};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = cluster;
    config.numAttrs = shape.cluster.x * shape.cluster.y * shape.cluster.z > 1 ? 1 : 0;
    check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<A>(arguments)...), "launch");
}

#else

using TensorMap = emulator::TensorMap;

template <class T>
T& dyn_smem() {
    const auto& block = emulator::current_block();
    if (sizeof(T) > block.shared_bytes) {
        emulator::fail("dyn_smem: a struct of %zu bytes, launched with %zu", sizeof(T), block.shared_bytes);
    }
    return *reinterpret_cast<T*>(block.shared);
}

// Runs kernel(arguments...) to its end. Throws emulator::Error if the kernel does what the hardware forbids.
template <class... P, class... A>
void launch(void (*kernel)(P...), const LaunchShape& shape, Stream, A&&... arguments) {
    emulator::launch_grid(kernel, {shape.grid, shape.block, shape.cluster, shape.shared_bytes},
                          std::forward<A>(arguments)...);
}

#endif

}  // namespace convgpu
