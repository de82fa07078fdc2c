// A Divisor divides by a number that the host knows before the launch. It needs only a multiplication and a shift.
#pragma once
#include "../device/launch.h"

namespace convgpu {

// For dividends below 2^(b-1) the quotient is floor(a * m / 2^p) with p = b - 1 + ceil(log2 d) and m = ceil(2^p / d),
// which fits in b bits (Granlund and Montgomery, Division by invariant integers using multiplication, 1994, theorem
// 4.2); here b is 64, and 32 where dividend and divisor are below 2^31. The hardware's own 64-bit division is a
// subroutine, around which registers spill.
class Divisor {
public:
    Divisor() : Divisor(1) {}
    explicit Divisor(uint64_t value) : value_(value) {
        __extension__ typedef unsigned __int128 Wide;
        while ((uint64_t(1) << shift_) < value) ++shift_;
        if (shift_ == 0) return;
        multiplier_ = static_cast<uint64_t>(((Wide(1) << (63 + shift_)) + value - 1) / value);
        if (shift_ < 32) {
            short_multiplier_ = static_cast<uint32_t>(((uint64_t(1) << (31 + shift_)) + value - 1) / value);
        }
    }

    __device__ __forceinline__ uint64_t quotient(uint64_t a) const {
        return shift_ ? __umul64hi(a, multiplier_) >> (shift_ - 1) : a;
    }

    // Dividend and divisor must both be below 2^31.
    __device__ __forceinline__ uint32_t short_quotient(uint32_t a) const {
        return shift_ ? __umulhi(a, short_multiplier_) >> (shift_ - 1) : a;
    }

    // Replaces a by its quotient, and returns the remainder.
    __device__ __forceinline__ uint64_t split(uint64_t& a) const {
        const uint64_t whole = quotient(a), rest = a - whole * value_;
        a = whole;
        return rest;
    }

    // Does the same as split. Dividend and divisor must both be below 2^31.
    __device__ __forceinline__ uint32_t short_split(uint32_t& a) const {
        const uint32_t whole = short_quotient(a), rest = a - whole * static_cast<uint32_t>(value_);
        a = whole;
        return rest;
    }

private:
    uint64_t value_, multiplier_ = 0;
    uint32_t short_multiplier_ = 0, shift_ = 0;  // a shift of 0 marks division by 1
};

}  // namespace convgpu
