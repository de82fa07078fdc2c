#include "tensor_core.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "instructions/numbers.h"

namespace convgpu::ptx {
namespace {

constexpr int kOfZero = -100000;
constexpr int kGuardBits = 2, kFraction = 23;

int exponent_of(double x) { return x == 0 || !std::isfinite(x) ? kOfZero : std::ilogb(x); }

float cut(double x) {
    const double size = std::fabs(x);
    if (size >= 0x1p128)
        return x > 0 ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity();
    if (size < 0x1p-126) return static_cast<float>(std::trunc(x * 0x1p149) * 0x1p-149) + 0.0f;
    return static_cast<float>(bits_as<double>(bits_as<U64>(x) & ~((U64(1) << 29) - 1)));
}

double power_of_two(int e) { return bits_as<double>(static_cast<U64>(e + 1023) << 52); }

}  // namespace

void Factors::set(int k, double x) {
    value[k] = x;
    exponent[k] = exponent_of(x);
}

float multiply_add(const Factors& a, const Factors& b, int depth, float c) {
    double products[kMostDepth], plain = c;
    int most = exponent_of(c);
    for (int k = 0; k < depth; ++k) {
        products[k] = a.value[k] * b.value[k];
        most = std::max(most, a.exponent[k] + b.exponent[k]);
        plain += products[k];
    }
    if (!std::isfinite(plain)) return canonical(static_cast<float>(plain));
    if (most <= kOfZero / 2) return 0;
    // In units of the last bit that is kept, every term is an integer below 2^27.
    const double to_units = power_of_two(kFraction + kGuardBits - most);
    int64_t sum = static_cast<int64_t>(static_cast<double>(c) * to_units);
    for (int k = 0; k < depth; ++k) sum += static_cast<int64_t>(products[k] * to_units);
    return cut(static_cast<double>(sum) * power_of_two(most - kFraction - kGuardBits));
}

}  // namespace convgpu::ptx
