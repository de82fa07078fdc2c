// The arithmetic of Hopper's tensor cores, bit for bit: not a chain of fused multiply-adds.
//
// A block of products (16 of bf16 or fp16, 8 of tf32) and the accumulator are aligned to the largest exponent among
// them, a product's being the sum of its factors' (not normalised); each term is truncated two bits below the float32
// significand at that exponent; the sum is exact; the result is truncated toward zero to float32.
// F. A. Khattak and M. Mikaitis, "Accurate Models of NVIDIA Tensor Cores", arXiv 2512.07004.
//
// Chosen here, and not recorded from hardware: subnormal factors count with their normalised exponent, a sum of zero is
// +0, NaN results are 0x7fffffff, and overflow gives an infinity.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace convgpu::emulator {

constexpr int kMaxBlock = 16;  // products in one block
constexpr int kGuardBits = 2;

// c + sum of a[k] * b[k * stride_b], one block, in plain words; for every input, NaN and infinity included.
float tensor_core_dot(const float* a, const float* b, int stride_b, int products, float c);

// A matrix as the products need it: values, their exponents, and whether the fast path may take them.
// `rows` times `columns`, row-major with room for whole vectors at the end of each row.
struct Factor {
    int rows = 0, columns = 0, pitch = 0;
    std::vector<float> value;
    std::vector<int32_t> exponent;
    int32_t min_exponent = 0, max_exponent = 0;  // of the values that are not zero
    bool ordinary = true;                        // no NaN, infinity or subnormal

    void resize(int new_rows, int new_columns);
    float* row(int r) { return &value[static_cast<size_t>(r) * pitch]; }
    void classify();  // fills everything below `value`
};

// C[m][n] += A[m][k] * B[k][n] for all m, n, as one block of A.columns products each.
void tensor_core_mma(const Factor& a, const Factor& b, float* c, int pitch_c);

float from_bfloat16(uint16_t bits);
float from_float16(uint16_t bits);
float from_tf32(uint32_t bits);  // the low 13 bits are ignored

}  // namespace convgpu::emulator
