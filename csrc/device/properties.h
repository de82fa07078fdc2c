// What plans ask of a GPU. Any GPU can be described, so that a plan for it can be read on any machine.
#pragma once
#include <cstddef>
#include <cstdint>

namespace convgpu {

struct Device {
    int arch = 90;                    // compute capability, 10 * major + minor
    int multiprocessors = 132;        // an H100 or H200
    size_t shared_bytes = 227 << 10;  // of a block, at most
};

inline bool operator==(const Device& a, const Device& b) {
    return a.arch == b.arch && a.multiprocessors == b.multiprocessors && a.shared_bytes == b.shared_bytes;
}
inline bool operator!=(const Device& a, const Device& b) { return !(a == b); }

// All that a plan may ask of a device as one number: caches of plans are keyed by it.
inline uint64_t key_of(const Device& device) {
    return (static_cast<uint64_t>(device.arch) << 48) | (static_cast<uint64_t>(device.multiprocessors) << 32) |
           static_cast<uint64_t>(device.shared_bytes);
}

// The GPU in use. The emulator stands in for an H200, with what its settings say (emulator/config.h).
Device current_device();

// From now on the emulator stands in for this one. A GPU is what it is: throws.
void emulate(const Device& device);

// Whether this library has code for sm_90a: a Hopper GPU also runs what was compiled for sm_80.
#if !defined(__CUDACC__) || defined(CONVGPU_SM_90A)
constexpr bool kCompiledForHopper = true;
#else
constexpr bool kCompiledForHopper = false;
#endif

}  // namespace convgpu
