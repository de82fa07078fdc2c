// Stands in for libcudart: the functions of CUDA's runtime that nvcc's objects call. Registration names the kernels and
// their PTX, and a launch hands arguments to the machine of csrc/ptx_machine, which has run the kernel to its end when
// the call returns. So a stream has nothing to order. Memory of the device is memory of the host.
//
// The symbols are hidden: a CUDA runtime in the same process is neither used nor replaced.
#include <cuda_runtime_api.h>

#include <cstring>

#include "../ptx_machine/error.h"
#include "session.h"
#include "tensor_maps.h"

using namespace convgpu::ptx_kernels;

#define CONVGPU_STANDS_IN extern "C" __attribute__((visibility("hidden")))

namespace {

thread_local std::string message;  // of the last error of this thread

// The grid of a launch in the syntax <<<...>>>, between its two calls.
thread_local dim3 pushed_grid, pushed_block;
thread_local size_t pushed_shared;
thread_local cudaStream_t pushed_stream;

cudaError_t refuse(cudaError_t error, const std::string& why) {
    message = why;
    return error;
}

cudaError_t start(const void* function, dim3 grid, dim3 block, dim3 cluster, size_t shared, void** arguments) {
    try {
        Session::get().launch(
            function,
            {{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, {cluster.x, cluster.y, cluster.z}, shared},
            arguments);
        return cudaSuccess;
    } catch (const Wrong& e) {
        return refuse(cudaErrorLaunchFailure, e.what());
    } catch (const std::exception& e) {
        return refuse(cudaErrorInvalidConfiguration, e.what());
    }
}

}  // namespace

CONVGPU_STANDS_IN void** __cudaRegisterFatBinary(void* wrapper) {
    struct Wrapper {
        int magic, version;
        const void* data;
        void* file_name;
    };
    return reinterpret_cast<void**>(Session::get().add_binary(static_cast<Wrapper*>(wrapper)->data));
}

CONVGPU_STANDS_IN void __cudaRegisterFatBinaryEnd(void**) {}

CONVGPU_STANDS_IN void __cudaUnregisterFatBinary(void**) {}

CONVGPU_STANDS_IN void __cudaRegisterFunction(void** handle, const char* host, char*, const char* name, int, uint3*,
                                              uint3*, dim3*, dim3*, int*) {
    Session::get().add_function(host, reinterpret_cast<Binary*>(handle), name);
}

CONVGPU_STANDS_IN unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    pushed_grid = grid;
    pushed_block = block;
    pushed_shared = shared;
    pushed_stream = stream;
    return 0;
}

CONVGPU_STANDS_IN cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    *grid = pushed_grid;
    *block = pushed_block;
    *shared = pushed_shared;
    std::memcpy(stream, &pushed_stream, sizeof pushed_stream);
    return cudaSuccess;
}

CONVGPU_STANDS_IN cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
    return cudaSuccess;
}

CONVGPU_STANDS_IN cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                                 size_t shared, cudaStream_t) {
    return start(kernel, grid, block, dim3(1, 1, 1), shared, arguments);
}

CONVGPU_STANDS_IN cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                                  void** arguments) {
    dim3 cluster(1, 1, 1);
    for (unsigned k = 0; k < config->numAttrs; ++k) {
        const cudaLaunchAttribute& attribute = config->attrs[k];
        if (attribute.id != cudaLaunchAttributeClusterDimension) {
            return refuse(cudaErrorNotSupported,
                          convgpu::ptx::format("expected the launch attribute of the cluster's size alone, got %d",
                                               static_cast<int>(attribute.id)));
        }
        cluster = dim3(attribute.val.clusterDim.x, attribute.val.clusterDim.y, attribute.val.clusterDim.z);
    }
    return start(function, config->gridDim, config->blockDim, cluster, config->dynamicSmemBytes, arguments);
}

CONVGPU_STANDS_IN cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
    Function* f = Session::get().function(function);
    if (!f) return refuse(cudaErrorInvalidDeviceFunction, "the function is no kernel");
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
        return refuse(cudaErrorNotSupported,
                      convgpu::ptx::format("the function attribute %d is not known here", static_cast<int>(attribute)));
    }
    const size_t most = Session::get().device().shared_bytes;
    if (value < 0 || static_cast<size_t>(value) > most) {
        return refuse(cudaErrorInvalidValue,
                      convgpu::ptx::format("expected at most %zu bytes of shared memory, got %d", most, value));
    }
    f->shared_limit = static_cast<size_t>(value);
    return cudaSuccess;
}

CONVGPU_STANDS_IN cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}

CONVGPU_STANDS_IN cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** entry, unsigned,
                                                               unsigned long long,
                                                               cudaDriverEntryPointQueryResult* found) {
    *entry = tensor_map_encoder(name);
    *found = *entry ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

CONVGPU_STANDS_IN const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : message.c_str();
}
