// Floating-point formats on the host: 16-bit ones, rounding, flushing of subnormals.
#pragma once
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>

#include "../table.h"

namespace convgpu::ptx {

template <class To, class From>
To bits_as(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

constexpr U32 kNaN32 = 0x7fffffff;  // the NaN that 32-bit arithmetic gives (9.7.3)
inline float canonical(float x) { return x == x ? x : bits_as<float>(kNaN32); }
inline double canonical(double x) { return x; }  // payloads of float64 are kept

inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
inline float saturated(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // NaN: 0
inline double saturated(double x) { return x > 0 ? (x < 1 ? x : 1.0) : 0.0; }

enum class Round : uint8_t { kNearest, kZero, kDown, kUp, kNearestAway, kOdd };

// x as a multiple of 2^unit, in any rounding; NaN and infinities pass.
inline double rounded_to(double x, int unit, Round how) {
    if (x == 0 || !std::isfinite(x)) return x;
    const double scaled = std::ldexp(x, -unit), below = std::floor(scaled), rest = scaled - below;
    double r = below;
    switch (how) {
        case Round::kNearest:
            r = rest > 0.5 || (rest == 0.5 && std::fmod(below, 2) != 0) ? below + 1 : below;
            break;
        case Round::kNearestAway:
            r = x > 0 ? (rest >= 0.5 ? below + 1 : below) : (rest > 0.5 ? below + 1 : below);
            break;
        case Round::kZero:
            r = x < 0 && rest > 0 ? below + 1 : below;
            break;
        case Round::kUp:
            r = rest > 0 ? below + 1 : below;
            break;
        case Round::kOdd:
            r = rest > 0 && std::fmod(below, 2) == 0 ? below + 1 : below;
            break;
        case Round::kDown:
            break;
    }
    return std::copysign(std::ldexp(r, unit), x);
}

// x in a format with that many bits behind the point and that exponent of its smallest normal number; overflow is left
// to the caller. A double holds more bits than each of these formats.
inline double rounded(double x, int fraction, int least_exponent, Round how) {
    if (x == 0 || !std::isfinite(x)) return x;
    return rounded_to(x, std::max(std::ilogb(x), least_exponent) - fraction, how);
}

inline float to_float(Half h) {
    const U32 sign = U32(h.bits & 0x8000) << 16, e = h.bits >> 10 & 31, f = h.bits & 0x3ff;
    if (e == 31) return bits_as<float>(sign | 0x7f800000 | f << 13);
    if (e) return bits_as<float>(sign | (e + 112) << 23 | f << 13);
    const float tiny = static_cast<float>(f) * 0x1p-24f;
    return sign ? -tiny : tiny;
}
inline float to_float(BFloat b) { return bits_as<float>(U32(b.bits) << 16); }
inline float to_float(float x) { return x; }

// From float or double, in one rounding.
inline Half half_of(double x, Round how = Round::kNearest) {
    if (x != x) return {0x7fff};
    const int sign = std::signbit(x) ? 0x8000 : 0;
    const double r = std::fabs(rounded(x, 10, -14, how));
    if (r > 65504) {
        const bool to_largest =
            !std::isinf(x) && (how == Round::kZero || (how == Round::kDown && !sign) || (how == Round::kUp && sign));
        return {static_cast<U16>(sign | (to_largest ? 0x7bff : 0x7c00))};
    }
    if (r < 0x1p-14) return {static_cast<U16>(sign | static_cast<int>(r * 0x1p24))};
    const int e = std::ilogb(r);
    return {static_cast<U16>(sign | (((e + 14) << 10) + static_cast<int>(std::ldexp(r, 10 - e))))};
}
inline BFloat bfloat_of(double x, Round how = Round::kNearest) {
    if (x != x) return {0x7fff};
    const double r = rounded(x, 7, -126, how);
    if (std::fabs(r) > 0x1.fep127) {
        const bool minus = std::signbit(x);
        const bool to_largest =
            !std::isinf(x) && (how == Round::kZero || (how == Round::kDown && !minus) || (how == Round::kUp && minus));
        return {static_cast<U16>((minus ? 0x8000 : 0) | (to_largest ? 0x7f7f : 0x7f80))};
    }
    return {static_cast<U16>(bits_as<U32>(static_cast<float>(r)) >> 16)};
}
// The usual rounding, on bits: a loop of these is vectorised.
inline BFloat nearest_bfloat(float x) {
    const U32 b = bits_as<U32>(x);
    return {static_cast<U16>(x == x ? (b + 0x7fff + (b >> 16 & 1)) >> 16 : 0x7fff)};
}
inline Half nearest_half(float x) {
    const U32 b = bits_as<U32>(x), sign = b >> 16 & 0x8000, a = b & 0x7fffffff;
    if (a > 0x7f800000) return {0x7fff};
    if (a >= 0x477ff000) return {static_cast<U16>(sign | 0x7c00)};
    if (a < 0x38800000) {  // a subnormal result: the float's own addition rounds it
        const float shifted = bits_as<float>(a) + 0.5f;
        return {static_cast<U16>(sign | (bits_as<U32>(shifted) - 0x3f000000))};
    }
    return {static_cast<U16>(sign | (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13)};
}

// Whether the exact sum of two doubles fits; if not, the last bit is set so that a second rounding goes the right way.
inline double sum_to_odd(double a, double b) {
    const double s = a + b, t = s - a, error = (a - (s - t)) + (b - t);
    if (error == 0 || !std::isfinite(s)) return s;
    const U64 bits = bits_as<U64>(s);
    if (bits & 1) return s;
    const bool away = (error > 0) == (s > 0);
    return bits_as<double>(away ? bits | 1 : bits - 1);
}

// Runs a handler in another rounding of the host's arithmetic. Results are in memory before the rounding is set back.
template <Handler kRun, int kMode>
void in_rounding(Warp& w, const Step& s, Mask lanes) {
    const int before = std::fegetround();
    std::fesetround(kMode);
    kRun(w, s, lanes);
    std::fesetround(before);
}

}  // namespace convgpu::ptx
