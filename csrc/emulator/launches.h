// How many launches the emulator has run, or has checked where it is told to run none.
#pragma once
#include <cstdint>

namespace convgpu::emulator {

uint64_t launches();  // of the process, so far

}  // namespace convgpu::emulator
