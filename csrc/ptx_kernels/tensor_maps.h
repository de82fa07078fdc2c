// Stands in for the driver's encoders of tensor maps.
#pragma once

namespace convgpu::ptx_kernels {

// Returns the function of that name, cuTensorMapEncodeTiled or cuTensorMapEncodeIm2col, or null.
void* tensor_map_encoder(const char* name);

}  // namespace convgpu::ptx_kernels
