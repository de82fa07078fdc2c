// What nvcc embeds in an object: a "fat binary", of which the PTX is read here.
#pragma once
#include <string>
#include <vector>

namespace convgpu::ptx_kernels {

// Returns the texts of all PTX in a fat binary, one for each architecture that nvcc was asked for. Throws ptx::Error if
// it is compressed, as it is without nvcc's option --no-compress.
std::vector<std::string> ptx_in(const void* fat_binary);

// Returns what follows .target, for example "sm_90a".
std::string target_of(const std::string& ptx);

}  // namespace convgpu::ptx_kernels
