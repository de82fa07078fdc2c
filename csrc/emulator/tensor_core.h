// The arithmetic of Hopper's tensor cores, bit for bit. It is not a chain of fused multiply-adds.
//
// The accumulator and a block of products (16 of bf16 or fp16, 8 of tf32) are aligned to the largest exponent among
// them. The exponent of a product is the sum of its factors' exponents; it is not normalised. Each term is truncated
// two bits below the float32 significand at that exponent. The sum of these is exact, and it is truncated toward zero
// to float32. The source is F. A. Khattak and M. Mikaitis, "Accurate Models of NVIDIA Tensor Cores", arXiv 2512.07004.
//
// Four things were chosen here, and not recorded from hardware: subnormal factors count with their normalised exponent,
// a sum of zero is +0, NaN results are 0x7fffffff, and overflow gives an infinity.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace convgpu::emulator {

constexpr int kMaxBlock = 16;  // products in one block
constexpr int kGuardBits = 2;

// Returns c + the sum of a[k] * b[k * stride_b] over one block. It is the plain statement of the arithmetic, and takes
// every input, NaN and infinity included.
float tensor_core_dot(const float* a, const float* b, int stride_b, int products, float c);

// A matrix in the form that the products need: its values, their exponents, and whether the fast path may take them. It
// has `rows` times `columns` elements in row-major order, with room for whole vectors at the end of each row.
struct Factor {
    int rows = 0, columns = 0, pitch = 0;
    std::vector<float> value;
    std::vector<int32_t> exponent;
    int32_t min_exponent = 0, max_exponent = 0;  // over the values that are not zero
    bool ordinary = true;                        // whether there is no NaN, infinity or subnormal

    void resize(int new_rows, int new_columns);
    float* row(int r) { return &value[static_cast<size_t>(r) * pitch]; }
    void classify();  // computes all members below `value`
};

// Computes C[m][n] += A[m][k] * B[k][n] for all m and n, each as one block of A.columns products.
void tensor_core_mma(const Factor& a, const Factor& b, float* c, int pitch_c);

float from_bfloat16(uint16_t bits);
float from_float16(uint16_t bits);
float from_tf32(uint32_t bits);  // ignores the low 13 bits

}  // namespace convgpu::emulator
