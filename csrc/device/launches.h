// Counts kernels, so that tests can compare a plan's number of launches with what is launched.
#pragma once
#include <cstdint>

namespace convgpu {

// Returns how many kernels the process has launched so far. Only the emulator counts; on a GPU it throws.
uint64_t kernel_launches();

}  // namespace convgpu
