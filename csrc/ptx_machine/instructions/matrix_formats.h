// The elements that mma and wmma multiply.
#pragma once
#include <string>

#include "numbers.h"

namespace convgpu::ptx {

enum class Format : uint8_t { kHalf, kBFloat, kTf32, kS8, kU8 };

inline double value_of(Format f, U32 bits) {
    if (f == Format::kHalf) return to_float(Half{static_cast<U16>(bits)});
    if (f == Format::kBFloat) return to_float(BFloat{static_cast<U16>(bits)});
    return bits_as<float>(bits & 0xffffe000);  // tf32: the last 13 bits do not count
}

// Of .s8 and .u8.
inline S32 integer_of(Format f, U32 bits) { return f == Format::kS8 ? S32(static_cast<S8>(bits)) : S32(bits); }

inline bool is_integer(Format f) { return f == Format::kS8 || f == Format::kU8; }

inline Format format_of(const std::string& type) {
    if (type == "f16") return Format::kHalf;
    if (type == "bf16") return Format::kBFloat;
    if (type == "tf32") return Format::kTf32;
    if (type == "s8") return Format::kS8;
    if (type == "u8") return Format::kU8;
    throw Error("the machine does not multiply ." + type);
}

}  // namespace convgpu::ptx
