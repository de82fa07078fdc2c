// Launches the pooling kernels with one thread for each place of an image.
#pragma once
#include "../device/launch.h"
#include "windows.h"

namespace convgpu::pool {

constexpr int kThreads = 256;  // the threads of a block
// A multiprocessor holds at least so many blocks. This leaves a thread 80 registers, with which no kernel spills.
constexpr int kResident = 3;

__device__ __forceinline__ uint64_t thread_number() { return uint64_t(blockIdx.x) * kThreads + threadIdx.x; }

inline LaunchShape one_thread_each(uint64_t count) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads));
    shape.block = dim3(kThreads);
    return shape;
}

inline Places places_of_y(const Problem& p, int vector) {
    return Places(p.images, {p.axis[0].output, p.axis[1].output, p.axis[2].output}, p.channels, vector);
}
inline Places places_of_x(const Problem& p, int vector) {
    return Places(p.images, {p.axis[0].size, p.axis[1].size, p.axis[2].size}, p.channels, vector);
}

}  // namespace convgpu::pool
