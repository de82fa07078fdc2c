#include "properties.h"

#include "launch.h"

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

#else

Device current_device() {
    Device device;
    device.multiprocessors = emulator::config().multiprocessors;
    device.shared_bytes = emulator::config().max_shared_bytes;
    return device;
}

#endif

}  // namespace convgpu
