// Addresses of shared memory have 32 bits: the rank of the block in its cluster from bit 24 up, and the offset below.
// As on the device, the dynamic shared memory of a block does not begin at address 0.
#pragma once
#include <cstddef>
#include <cstdint>

namespace convgpu::emulator {

constexpr uint32_t kSharedBase = 1024;
constexpr int kRankShift = 24;
constexpr uint32_t kOffsetMask = (1u << kRankShift) - 1;

enum class Reach { kBlock, kCluster };  // whose shared memory an instruction may address

uint32_t shared_address(const void* p);
// Returns the host address, after checks of reach, bounds and alignment. `what` names the instruction in an error.
uint8_t* shared_pointer(uint32_t address, size_t bytes, size_t align, const char* what, Reach reach = Reach::kBlock);
uint32_t map_to_rank(uint32_t address, uint32_t rank);

}  // namespace convgpu::emulator
