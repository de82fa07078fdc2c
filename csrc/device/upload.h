// Copies from the host's memory to the device's, in the order of a stream.
#pragma once
#include <algorithm>
#include <cstring>

#include "launch.h"

namespace convgpu {

// Copies `bytes` bytes to device memory. The host does not wait for the stream, and may change `from` at once: CUDA
// takes copies of at most 64 KB from pageable memory into its queue (CUDA C++ Programming Guide, "Concurrent Execution
// between Host and Device"), so longer ones are made of several.
inline void upload(void* to, const void* from, size_t bytes, Stream stream) {
#ifdef __CUDACC__
    constexpr size_t kTaken = 64 << 10;
    for (size_t done = 0; done < bytes; done += kTaken) {
        check_cuda(cudaMemcpyAsync(static_cast<char*>(to) + done, static_cast<const char*>(from) + done,
                                   std::min(kTaken, bytes - done), cudaMemcpyHostToDevice, stream),
                   "upload");
    }
#else
    (void)stream;
    if (bytes > 0) std::memcpy(to, from, bytes);
#endif
}

}  // namespace convgpu
