// Every family of kernels (conv, gemm, pool, layout) defines these functions in its own bind.cpp; csrc/bind.cpp calls
// them.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/array.h"
#include "common/workspace.h"

namespace convgpu {

// A plan assumes this alignment unless its caller names another one. Every array that the project allocates has it.
constexpr int kPlannedAlignment = 16;

inline Stream stream_of(uintptr_t stream) { return reinterpret_cast<Stream>(stream); }
inline Workspace workspace_of(uintptr_t pointer, size_t bytes) { return {reinterpret_cast<void*>(pointer), bytes}; }

void bind_conv(pybind11::module_& m);
void bind_gemm(pybind11::module_& m);
void bind_pool(pybind11::module_& m);
void bind_layout(pybind11::module_& m);

}  // namespace convgpu
