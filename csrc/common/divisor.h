// Division by a number that the host knows before the launch: a multiplication and a shift.
#pragma once
#include "../device/launch.h"

namespace convgpu {

// For dividends below 2^63 the quotient is floor(a * m / 2^p) with p = 63 + ceil(log2 d) and m = ceil(2^p / d), which
// fits in 64 bits (Granlund and Montgomery, Division by invariant integers using multiplication, 1994, theorem 4.2).
// The hardware's own 64-bit division is a subroutine, around which registers spill.
class Divisor {
public:
    Divisor() : Divisor(1) {}
    explicit Divisor(uint64_t value) : value_(value) {
        __extension__ typedef unsigned __int128 Wide;
        while ((uint64_t(1) << shift_) < value) ++shift_;
        if (shift_) multiplier_ = static_cast<uint64_t>(((Wide(1) << (63 + shift_)) + value - 1) / value);
    }

    __device__ __forceinline__ uint64_t quotient(uint64_t a) const {
        return shift_ ? __umul64hi(a, multiplier_) >> (shift_ - 1) : a;
    }

    // Replaces a by its quotient, and returns the remainder.
    __device__ __forceinline__ uint64_t split(uint64_t& a) const {
        const uint64_t whole = quotient(a), rest = a - whole * value_;
        a = whole;
        return rest;
    }

private:
    uint64_t value_, multiplier_ = 0;
    uint32_t shift_ = 0;  // 0: of a division by 1
};

}  // namespace convgpu
