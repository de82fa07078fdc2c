// In the place of device/properties.cu: the GPU that the machine stands for, which can be chosen as in the emulator.
#include "../device/launches.h"
#include "../device/properties.h"
#include "session.h"

namespace convgpu {

Device current_device() { return ptx_kernels::Session::get().device(); }

void emulate(const Device& device) { ptx_kernels::Session::get().set_device(device); }

uint64_t kernel_launches() { return ptx_kernels::Session::get().launches(); }

}  // namespace convgpu
