// Which instruction set runs: the widest that the machine has, unless CONVGPU_CPU_ISA names another.
#pragma once
#include <string>
#include <vector>

#include "../common/array.h"
#include "kernels.h"

namespace convgpu::cpu {

// The names of the instruction sets that were built and that this machine has, the fastest first. "plain" is always
// one.
std::vector<std::string> instruction_sets();

// The one in use. Throws std::invalid_argument if CONVGPU_CPU_ISA names none of instruction_sets().
std::string instruction_set();

// Uses another one from now on; an empty name stands for the choice that was made at the start.
void use_instruction_set(const std::string& name);

// The kernels in use for a floating dtype.
const Kernels& kernels_for(DType dtype);

}  // namespace convgpu::cpu
