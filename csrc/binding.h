// What bind.cpp asks of every family.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/array.h"

namespace convgpu {

void bind_pool(pybind11::module_& m);
void bind_layout(pybind11::module_& m);

}  // namespace convgpu
