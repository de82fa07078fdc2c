// The warp's tensor-core instructions: ldmatrix, stmatrix, mma.sync.
#pragma once
#include <cstdint>

namespace convgpu::emulator {

enum class Operand { kBFloat16, kFloat16, kTf32 };

// Matrix i of the `matrices` 8x8 ones has its row r at the address that lane 8*i + r brings.
void ldmatrix(uint32_t* registers, int matrices, bool transpose, uint32_t row_address);
void stmatrix(const uint32_t* registers, int matrices, bool transpose, uint32_t row_address);

// d += a * b: 16x8 += 16x16 * 16x8 (bf16, fp16), or 16x8 * 8x8 (tf32).
void mma_sync(Operand type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Element e (0 or 1; a tf32 register holds one) of an operand register.
float operand_value(Operand type, uint32_t reg, int e);

}  // namespace convgpu::emulator
