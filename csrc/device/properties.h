// What plans ask of a GPU. Any GPU can be described, so that a plan for it can be read on any machine.
#pragma once
#include <cstddef>

#include "launch.h"

namespace convgpu {

struct Device {
    int arch = 90;                    // compute capability, 10 * major + minor
    int multiprocessors = 132;        // an H100 or H200
    size_t shared_bytes = 227 << 10;  // of a block, at most

    // The GPU in use, asked once. The emulator stands in for an H200 with the shared memory that its settings give it.
    static Device current();
};

#ifdef __CUDACC__

inline Device Device::current() {
    static const Device device = [] {
        int number = 0;
        check_cuda(cudaGetDevice(&number), "device");
        const auto attribute = [number](cudaDeviceAttr which) {
            int value = 0;
            check_cuda(cudaDeviceGetAttribute(&value, which, number), "device");
            return value;
        };
        return Device{
            10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor),
            attribute(cudaDevAttrMultiProcessorCount),
            static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin))};
    }();
    return device;
}

#else

inline Device Device::current() {
    Device device;
    device.shared_bytes = emulator::config().max_shared_bytes;
    return device;
}

#endif

}  // namespace convgpu
