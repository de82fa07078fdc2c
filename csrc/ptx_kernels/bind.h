#pragma once
#include <pybind11/pybind11.h>

namespace convgpu::ptx_kernels {

// Adds to the module _ptx_kernels what it alone has.
void bind(pybind11::module_& m);

}  // namespace convgpu::ptx_kernels
