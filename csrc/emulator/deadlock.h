// Reports a block whose threads all wait for something that cannot happen.
#pragma once
#include <string>

namespace convgpu::emulator {

struct Cluster;
std::string describe_deadlock(const Cluster& cluster);

}  // namespace convgpu::emulator
