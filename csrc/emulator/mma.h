// The tensor-core instructions of a warp: ldmatrix, stmatrix and mma.sync.
#pragma once
#include <cstdint>

namespace convgpu::emulator {

enum class Operand { kBFloat16, kFloat16, kTf32 };

// Loads `matrices` 8x8 matrices. Row r of matrix i is at the address that lane 8*i + r brings.
void ldmatrix(uint32_t* registers, int matrices, bool transpose, uint32_t row_address);
void stmatrix(const uint32_t* registers, int matrices, bool transpose, uint32_t row_address);

// Computes d += a * b, where d is 16x8, and a * b is 16x16 * 16x8 (bf16, fp16) or 16x8 * 8x8 (tf32).
void mma_sync(Operand type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Returns element e of an operand register: 0 or 1, or only 0 for tf32.
float operand_value(Operand type, uint32_t reg, int e);

}  // namespace convgpu::emulator
