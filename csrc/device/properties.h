// The properties of a GPU that plans depend on. Any GPU can be described, so that a plan for it can be read on any
// machine.
#pragma once
#include <cstddef>
#include <cstdint>

namespace convgpu {

struct Device {
    int arch = 90;                    // compute capability, 10 * major + minor
    int multiprocessors = 132;        // 132 is the number of an H100 or H200
    size_t shared_bytes = 227 << 10;  // the most that one block can have
};

inline bool operator==(const Device& a, const Device& b) {
    return a.arch == b.arch && a.multiprocessors == b.multiprocessors && a.shared_bytes == b.shared_bytes;
}
inline bool operator!=(const Device& a, const Device& b) { return !(a == b); }

// Packs all properties that a plan may depend on into one number, by which caches of plans are keyed.
inline uint64_t key_of(const Device& device) {
    return (static_cast<uint64_t>(device.arch) << 48) | (static_cast<uint64_t>(device.multiprocessors) << 32) |
           static_cast<uint64_t>(device.shared_bytes);
}

// Returns the properties of the GPU in use. The emulator stands in for an H200, unless its settings (emulator/config.h)
// say otherwise.
Device current_device();

// Makes the emulator stand in for this device from now on. Throws on a GPU, whose properties cannot be changed.
void emulate(const Device& device);

// Tells whether this library has code for sm_90a. A Hopper GPU also runs code that was compiled for sm_80.
#if !defined(__CUDACC__) || defined(CONVGPU_SM_90A)
constexpr bool kCompiledForHopper = true;
#else
constexpr bool kCompiledForHopper = false;
#endif

}  // namespace convgpu
