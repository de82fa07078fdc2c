// What bind.cpp asks of every family.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/array.h"
#include "common/workspace.h"

namespace convgpu {

// The alignment for which plans are made unless the caller knows better: that of every array which we allocate.
constexpr int kPlannedAlignment = 16;

inline Stream stream_of(uintptr_t stream) { return reinterpret_cast<Stream>(stream); }
inline Workspace workspace_of(uintptr_t pointer, size_t bytes) { return {reinterpret_cast<void*>(pointer), bytes}; }

void bind_conv(pybind11::module_& m);
void bind_gemm(pybind11::module_& m);
void bind_pool(pybind11::module_& m);
void bind_layout(pybind11::module_& m);

}  // namespace convgpu
