#include "properties.h"

#include <stdexcept>

#include "launch.h"
#include "launches.h"

#ifndef __CUDACC__
#include "../emulator/launches.h"
#endif

namespace convgpu {

#ifdef __CUDACC__

Device current_device() {
    static const Device device = [] {
        int number = 0;
        check_cuda(cudaGetDevice(&number), "device");
        const auto attribute = [number](cudaDeviceAttr which) {
            int value = 0;
            check_cuda(cudaDeviceGetAttribute(&value, which, number), "device");
            return value;
        };
        return Device{10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor),
                      attribute(cudaDevAttrMultiProcessorCount),
                      static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin))};
    }();
    return device;
}

void emulate(const Device&) { throw std::runtime_error("emulate: expected the emulator, got a GPU"); }

uint64_t kernel_launches() { throw std::runtime_error("launches: expected the emulator, which counts, got a GPU"); }

#else

Device current_device() {
    Device device;
    device.arch = emulator::config().arch;
    device.multiprocessors = emulator::config().multiprocessors;
    device.shared_bytes = emulator::config().max_shared_bytes;
    return device;
}

void emulate(const Device& device) {
    emulator::config().arch = device.arch;
    emulator::config().multiprocessors = device.multiprocessors;
    emulator::config().max_shared_bytes = device.shared_bytes;
}

uint64_t kernel_launches() { return emulator::launches(); }

#endif

}  // namespace convgpu
