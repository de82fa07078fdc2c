#pragma once
#include <string>

#include "syntax.h"

namespace convgpu::ptx {

// Reads the text of a module. Raises Error with the line of what it cannot read.
Module parse(const std::string& text);

}  // namespace convgpu::ptx
