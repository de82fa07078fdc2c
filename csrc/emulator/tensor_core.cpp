#include "tensor_core.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace convgpu::emulator {
namespace {

// The exponent of a zero. The sum of two of these still fits into 32 bits, and is never the largest exponent.
constexpr int32_t kNoExponent = -100000;
// The exponents that the field of a float32 shows for a subnormal, and for an infinity or a NaN.
constexpr int32_t kSubnormalExponent = -127, kSpecialExponent = 128;
constexpr int kFraction = 23 + kGuardBits;

float from_bits(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}

uint32_t bits_of(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, sizeof f);
    return bits;
}

int32_t exponent_of(float f) { return f == 0 ? kNoExponent : std::ilogb(f); }

// Returns the sum if there is a NaN or an infinity among the terms, as IEEE 754 defines it.
float special_sum(const float* a, const float* b, int stride_b, int products, float c) {
    double sum = c;
    for (int k = 0; k < products; ++k) sum += double(a[k]) * double(b[k * stride_b]);
    return std::isnan(sum) ? from_bits(0x7fffffff) : static_cast<float>(sum);
}

// Rounds toward zero to 24 significant bits, or to fewer bits below the smallest normal number.
float truncated(double sum) {
    if (sum == 0) return 0;
    const int quantum = std::max(std::ilogb(sum) - 23, -149);
    return static_cast<float>(std::ldexp(std::trunc(std::ldexp(sum, -quantum)), quantum));
}

}  // namespace

float tensor_core_dot(const float* a, const float* b, int stride_b, int products, float c) {
    for (int k = 0; k < products; ++k) {
        if (!std::isfinite(a[k]) || !std::isfinite(b[k * stride_b]) || !std::isfinite(c)) {
            return special_sum(a, b, stride_b, products, c);
        }
    }
    int32_t top = exponent_of(c);
    for (int k = 0; k < products; ++k) {
        const float x = a[k], y = b[k * stride_b];
        if (x != 0 && y != 0) top = std::max(top, exponent_of(x) + exponent_of(y));
    }
    if (top == kNoExponent) return 0;
    const int quantum = top - kFraction;
    double sum = std::trunc(std::ldexp(double(c), -quantum));  // counted in quanta: an integer below 2^32
    for (int k = 0; k < products; ++k) {
        sum += std::trunc(std::ldexp(double(a[k]) * double(b[k * stride_b]), -quantum));
    }
    return truncated(std::ldexp(sum, quantum));
}

namespace {

// ---- The fast path does the same for one row of A and kLanes columns of B at a time. -------------------------------
// Vectors are of a type of GCC. With AVX2 one instruction does eight columns, with NEON or SSE2 four.
constexpr int kLanes = 8;
typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef double Doubles __attribute__((vector_size(kLanes * 8)));
typedef int64_t Longs __attribute__((vector_size(kLanes * 8)));

// Vectors are passed by reference, since the ABI for passing them by value depends on the CPU.
template <class V>
void load(V& v, const void* p) {
    std::memcpy(&v, p, sizeof v);
}

// Returns 2^e in `power`, for -126 <= e <= 127.
void power_of_two(Floats& power, const Ints& e) {
    const Ints bits = (e + 127) << 23;
    load(power, &bits);
}

// If the exponents of two factors always sum to at least kMinTop and at most kMaxTop, then products and quanta are
// ordinary float32 numbers. The largest exponent is then at least kMinTop, or all products are zero and the result is c
// itself.
constexpr int32_t kMinTop = -96, kMaxTop = 126;

bool fast_path_takes(const Factor& a, const Factor& b) {
    return a.ordinary && b.ordinary && a.min_exponent + b.min_exponent >= kMinTop &&
           a.max_exponent + b.max_exponent <= kMaxTop;
}

bool finite(const Floats& c) {
    Ints bits;
    std::memcpy(&bits, &c, sizeof bits);
    const Ints special = (bits & 0x7f800000) == 0x7f800000;
    Ints any = special;
    for (int i = 1; i < kLanes; ++i) any[0] |= special[i];
    return any[0] == 0;
}

// Adds one block of products to c. The sum of 8 products fits into 32 bits, since each is below 2^2 * 2^25 quanta. The
// double sum of two such sums and c is exact.
template <int kProducts>
void block(const float* a, const int32_t* a_exponent, const float* b, const int32_t* b_exponent, int pitch, Floats& c) {
    Ints top, exponents;
    load(top, &c);
    top = (top >> 23 & 255) - 127;
    for (int k = 0; k < kProducts; ++k) {
        load(exponents, b_exponent + k * pitch);
        exponents += a_exponent[k];
        top = exponents > top ? exponents : top;
    }
    const Ints usable = top < kMinTop ? Ints{} + kMinTop : top;
    Floats scale, quantum, column;
    power_of_two(scale, kFraction - usable);
    power_of_two(quantum, usable - kFraction);
    Doubles sum = __builtin_convertvector(__builtin_convertvector(c * scale, Ints), Doubles);
    for (int k = 0; k < kProducts; k += 8) {
        Ints quanta{};
        for (int i = k; i < k + 8; ++i) {
            load(column, b + i * pitch);
            quanta += __builtin_convertvector(a[i] * column * scale, Ints);  // this conversion truncates
        }
        sum += __builtin_convertvector(quanta, Doubles);
    }
    sum *= __builtin_convertvector(quantum, Doubles);
    Longs bits;
    load(bits, &sum);
    bits &= ~((int64_t(1) << 29) - 1);  // clears 52 - 23 bits: rounds toward zero to float32, exactly
    load(sum, &bits);
    c = top < kMinTop ? c + Floats{} : __builtin_convertvector(sum, Floats);  // adding 0 turns -0 into +0
}

template <int kProducts>
void fast_rows(const Factor& a, const Factor& b, float* c, int pitch_c) {
    for (int m = 0; m < a.rows; ++m) {
        const size_t row = static_cast<size_t>(m) * a.pitch;
        for (int n = 0; n < b.columns; n += kLanes) {
            float* out = c + static_cast<size_t>(m) * pitch_c + n;
            Floats sums;
            load(sums, out);
            if (finite(sums)) {
                block<kProducts>(&a.value[row], &a.exponent[row], &b.value[n], &b.exponent[n], b.pitch, sums);
                std::memcpy(out, &sums, sizeof sums);
            } else {
                for (int i = 0; i < kLanes; ++i) {
                    out[i] = tensor_core_dot(&a.value[row], &b.value[n + i], b.pitch, kProducts, out[i]);
                }
            }
        }
    }
}

}  // namespace

void Factor::resize(int new_rows, int new_columns) {
    rows = new_rows;
    columns = new_columns;
    pitch = (columns + kLanes - 1) / kLanes * kLanes;
    value.assign(static_cast<size_t>(rows) * pitch, 0);
    exponent.resize(value.size());
}

// This function is written for the compiler's vectoriser: it has no branches, and only 32-bit integers.
void Factor::classify() {
    int32_t smallest = kSpecialExponent, largest = kNoExponent;
    for (size_t i = 0; i < value.size(); ++i) {
        int32_t magnitude;
        std::memcpy(&magnitude, &value[i], sizeof magnitude);
        magnitude &= 0x7fffffff;
        const int32_t e = (magnitude >> 23) - 127;
        exponent[i] = magnitude == 0 ? kNoExponent : e;
        smallest = std::min(smallest, magnitude == 0 ? kSpecialExponent : e);
        largest = std::max(largest, exponent[i]);
    }
    min_exponent = smallest;
    max_exponent = largest;
    ordinary = smallest > kSubnormalExponent && largest < kSpecialExponent;
}

void tensor_core_mma(const Factor& a, const Factor& b, float* c, int pitch_c) {
    if (fast_path_takes(a, b) && b.columns % kLanes == 0) {
        if (a.columns == 16) return fast_rows<16>(a, b, c, pitch_c);
        if (a.columns == 8) return fast_rows<8>(a, b, c, pitch_c);
    }
    for (int m = 0; m < a.rows; ++m) {
        for (int n = 0; n < b.columns; ++n) {
            float& out = c[static_cast<size_t>(m) * pitch_c + n];
            out = tensor_core_dot(&a.value[static_cast<size_t>(m) * a.pitch], &b.value[n], b.pitch, a.columns, out);
        }
    }
}

float from_bfloat16(uint16_t bits) { return from_bits(uint32_t(bits) << 16); }

float from_tf32(uint32_t bits) { return from_bits(bits & 0xffffe000u); }

float from_float16(uint16_t bits) {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) return from_bits(sign | bits_of(std::ldexp(static_cast<float>(fraction), -24)));
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

}  // namespace convgpu::emulator
