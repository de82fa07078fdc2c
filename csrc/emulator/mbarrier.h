// An mbarrier is a 64-bit word of shared memory that counts arrivals and transferred bytes.
#pragma once
#include <cstdint>
#include <string>

namespace convgpu::emulator {

void mbarrier_init(uint32_t address, uint32_t arrivals);
void mbarrier_arrive(uint32_t address, const char* what);  // may be another block's, through mapa
void mbarrier_expect(uint32_t address, uint32_t bytes);
void mbarrier_arrive_expect(uint32_t address, uint32_t bytes);
bool mbarrier_test(uint32_t address, uint32_t parity);  // tells whether the phase of this parity has completed
void mbarrier_wait(uint32_t address, uint32_t parity);

// A copy calls mbarrier_word when it is issued, and mbarrier_complete when its bytes have landed.
uint64_t* mbarrier_word(uint32_t address, const char* what);
void mbarrier_complete(uint64_t* word, uint32_t bytes);
std::string describe_mbarrier(uint64_t word);

}  // namespace convgpu::emulator
