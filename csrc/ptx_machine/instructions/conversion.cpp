// 9.7.9 Data Movement and Conversion Instructions: cvt.
//
// The frequent conversions have a function of one lane. All others go through one function, lane by lane: the source as
// an integer or a double, which holds every format exactly, then the steps of the manual in its order.
#include <algorithm>

#include "lanes.h"
#include "numbers.h"

namespace convgpu::ptx {
namespace {

struct Conversion : Detail {
    std::string to, from;
    uint32_t to_register = 4, from_register = 4;  // bytes
    Round round = Round::kNearest;
    bool to_integer_value = false;  // .rni and its like
    bool ftz = false, sat = false, relu = false;
};

bool is_integer(const std::string& type) {
    return type[0] == 'u' || type[0] == 's' || (type[0] == 'b' && type[1] != 'f');
}
bool is_signed(const std::string& type) { return type[0] == 's'; }

U64 extended(U64 x, uint32_t bytes, bool with_sign) {
    if (bytes >= 8) return x;
    const uint32_t up = 64 - 8 * bytes;
    return with_sign ? static_cast<U64>(static_cast<S64>(x << up) >> up) : x << up >> up;
}

double value_of(const std::string& type, U64 bits) {
    if (type == "f16") return to_float(Half{static_cast<U16>(bits)});
    if (type == "bf16") return to_float(BFloat{static_cast<U16>(bits)});
    if (type == "f32") return bits_as<float>(static_cast<U32>(bits));
    return bits_as<double>(bits);
}

U32 to_tf32(float x, Round how) {
    if (!std::isfinite(x)) return x != x ? kNaN32 : bits_as<U32>(x);
    return bits_as<U32>(static_cast<float>(rounded(x, 10, -126, how)));
}

// A double rounded to float in that way.
float float_of(double x, Round how) {
    if (how == Round::kNearest || !std::isfinite(x)) return static_cast<float>(x);
    const double r = rounded(x, 23, -126, how);
    constexpr float kMost = std::numeric_limits<float>::max();
    if (std::fabs(r) <= kMost) return static_cast<float>(r);
    const bool to_most = how == Round::kZero || (how == Round::kDown && r > 0) || (how == Round::kUp && r < 0);
    return std::copysign(to_most ? kMost : std::numeric_limits<float>::infinity(), static_cast<float>(r));
}

U64 bits_of(const std::string& type, double x, Round how) {
    if (type == "f16") return half_of(x, how).bits;
    if (type == "bf16") return bfloat_of(x, how).bits;
    if (type == "tf32") return to_tf32(static_cast<float>(x), how);
    if (type == "f32") return bits_as<U32>(canonical(float_of(x, how)));
    return bits_as<U64>(x);
}

// Integers saturate; a NaN becomes 0, and in 64 bits the sign bit alone.
U64 integer_of(const std::string& type, double x, Round how) {
    const uint32_t bits = 8 * bytes_of_type(type);
    if (x != x) return bits == 64 ? U64(1) << 63 : 0;
    const double r = rounded_to(x, 0, how);
    if (is_signed(type)) {
        const double limit = std::ldexp(1.0, static_cast<int>(bits) - 1);
        if (r >= limit) return (U64(1) << (bits - 1)) - 1;
        return r < -limit ? U64(1) << (bits - 1) : static_cast<U64>(static_cast<S64>(r));
    }
    if (r <= 0) return 0;
    return r >= std::ldexp(1.0, static_cast<int>(bits)) ? ~U64(0) >> (64 - bits) : static_cast<U64>(r);
}

U64 saturated_integer(const std::string& to, const std::string& from, U64 x) {
    const uint32_t bits = 8 * bytes_of_type(to);
    const auto value = is_signed(from) ? static_cast<__int128>(static_cast<S64>(x)) : static_cast<__int128>(x);
    const __int128 one = 1, most = is_signed(to) ? (one << (bits - 1)) - 1 : (one << bits) - 1;
    const __int128 least = is_signed(to) ? -(one << (bits - 1)) : 0;
    return static_cast<U64>(std::clamp(value, least, most));
}

U64 integer_to_float(const Conversion& c, U64 x) {
    // Only a float or half of a 64-bit integer could be rounded twice: its double is rounded to odd.
    const bool minus = is_signed(c.from) && static_cast<S64>(x) < 0;
    const U64 magnitude = minus ? 0 - x : x;
    const int spare = magnitude >> 53 ? 11 - __builtin_clzll(magnitude) : 0;
    const bool lost = magnitude & ((U64(1) << spare) - 1);
    if (c.to == "f64") {
        double r = static_cast<double>(magnitude >> spare);
        const Round how = minus ? (c.round == Round::kUp     ? Round::kDown
                                   : c.round == Round::kDown ? Round::kUp
                                                             : c.round)
                                : c.round;
        const U64 rest = magnitude & ((U64(1) << spare) - 1), half = spare ? U64(1) << (spare - 1) : 0;
        const bool up = how == Round::kUp ? rest != 0
                                          : how == Round::kNearest &&
                                                (rest > half || (rest && rest == half && magnitude >> spare & 1));
        r = std::ldexp(r + (up ? 1 : 0), spare);
        return bits_as<U64>(minus ? -r : r);
    }
    const double odd = std::ldexp(static_cast<double>(magnitude >> spare | U64(lost)), spare);
    return bits_of(c.to, minus ? -odd : odd, c.round);
}

U64 convert_one(const Conversion& c, U64 bits) {
    const bool from_integer = is_integer(c.from), to_integer = is_integer(c.to);
    if (from_integer) {
        const U64 x = extended(bits, bytes_of_type(c.from), is_signed(c.from));
        if (!to_integer) return integer_to_float(c, x);
        return extended(c.sat ? saturated_integer(c.to, c.from, x) : x, bytes_of_type(c.to), is_signed(c.to));
    }
    double x = value_of(c.from, bits);
    if (c.ftz && c.from == "f32") x = flushed(static_cast<float>(x));
    if (to_integer) return extended(integer_of(c.to, x, c.round), bytes_of_type(c.to), is_signed(c.to));
    Round how = c.round;
    if (c.to_integer_value) {
        x = rounded_to(x, 0, c.round);
        how = Round::kNearest;
    }
    if (c.sat) x = saturated(x);
    if (c.relu && x < 0) x = 0;
    U64 r = bits_of(c.to, x, how);
    if (c.ftz && c.to == "f32") r = bits_as<U32>(flushed(bits_as<float>(static_cast<U32>(r))));
    return r;
}

// op: d, a
void convert(Warp& w, const Step& s, Mask lanes) {
    const auto& c = detail<Conversion>(s);
    for_lanes(lanes, [&](int l) {
        write_lane(w, s.op[0], c.to_register, l, convert_one(c, read_lane(w, s.op[1], c.from_register, l)));
    });
}

// e4m3: 4 bits of exponent, 3 of fraction, no infinity, one NaN; e5m2: a half without its last 8 bits. Beyond the
// largest number .satfinite gives that number.
U32 to_eight_bits(const std::string& type, double x, bool relu) {
    if (x != x) return 0x7f;
    if (relu && !(x > 0)) return 0;
    const bool wide = type == "e4m3";
    const int fraction = wide ? 3 : 2, least = wide ? -6 : -14, bias = wide ? 7 : 15;
    const double most = wide ? 448 : 57344, r = std::min(std::fabs(rounded(x, fraction, least, Round::kNearest)), most);
    const U32 sign = std::signbit(x) ? 0x80 : 0;
    if (r < std::ldexp(1.0, least)) return sign | static_cast<U32>(std::ldexp(r, fraction - least));
    const int e = std::ilogb(r);
    return sign | (static_cast<U32>(e + bias) << fraction) + static_cast<U32>(std::ldexp(r, fraction - e)) -
                      (U32(1) << fraction);
}

Half from_eight_bits(const std::string& type, U32 bits) {
    if (type == "e5m2") {
        const auto h = static_cast<U16>(bits << 8);
        return (h & 0x7fff) > 0x7c00 ? Half{0x7fff} : Half{h};
    }
    const int e = static_cast<int>(bits >> 3 & 15), f = static_cast<int>(bits & 7);
    if (e == 15 && f == 7) return {0x7fff};
    const double r = e ? std::ldexp(8 + f, e - 10) : std::ldexp(f, -9);
    return half_of(bits & 0x80 ? -r : r);
}

// cvt.rn.satfinite{.relu}.e4m3x2.f32 d, a (high), b (low)
void convert_to_eight_bits(Warp& w, const Step& s, Mask lanes) {
    const auto& c = detail<Conversion>(s);
    for_lanes(lanes, [&](int l) {
        const U32 high = to_eight_bits(c.to, w.lanes<float>(s.op[1])[l], c.relu),
                  low = to_eight_bits(c.to, w.lanes<float>(s.op[2])[l], c.relu);
        w.lanes<U16>(s.op[0])[l] = static_cast<U16>(low | high << 8);
    });
}

// cvt.rn.satfinite{.relu}.e4m3x2.f16x2 d, a
void convert_halves_to_eight_bits(Warp& w, const Step& s, Mask lanes) {
    const auto& c = detail<Conversion>(s);
    for_lanes(lanes, [&](int l) {
        const U32 a = w.lanes<U32>(s.op[1])[l];
        const U32 high = to_eight_bits(c.to, to_float(Half{static_cast<U16>(a >> 16)}), c.relu),
                  low = to_eight_bits(c.to, to_float(Half{static_cast<U16>(a)}), c.relu);
        w.lanes<U16>(s.op[0])[l] = static_cast<U16>(low | high << 8);
    });
}

// cvt.rn{.relu}.f16x2.e4m3x2 d, a
void convert_from_eight_bits(Warp& w, const Step& s, Mask lanes) {
    const auto& c = detail<Conversion>(s);
    for_lanes(lanes, [&](int l) {
        const U32 a = w.lanes<U16>(s.op[1])[l];
        Half h[] = {from_eight_bits(c.from, a & 0xff), from_eight_bits(c.from, a >> 8)};
        for (Half& x : h) {
            if (c.relu && (x.bits & 0x8000) && (x.bits & 0x7fff) <= 0x7c00) x = {0};
        }
        w.lanes<U32>(s.op[0])[l] = U32(h[0].bits) | U32(h[1].bits) << 16;
    });
}

// Two numbers into one register. op: d, a (high), b (low)
void convert_pair(Warp& w, const Step& s, Mask lanes) {
    const auto& c = detail<Conversion>(s);
    for_lanes(lanes, [&](int l) {
        const U64 high = convert_one(c, w.lanes<U32>(s.op[1])[l]), low = convert_one(c, w.lanes<U32>(s.op[2])[l]);
        w.lanes<U32>(s.op[0])[l] = static_cast<U32>(low & 0xffff) | static_cast<U32>(high) << 16;
    });
}

void read_rounding(Builder& b, Conversion& c) {
    switch (b.one_of({"rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"}, 9)) {
        case 5:
            c.to_integer_value = true;
            break;
        case 1:
            c.round = Round::kZero;
            break;
        case 6:
            c.round = Round::kZero;
            c.to_integer_value = true;
            break;
        case 2:
            c.round = Round::kDown;
            break;
        case 7:
            c.round = Round::kDown;
            c.to_integer_value = true;
            break;
        case 3:
            c.round = Round::kUp;
            break;
        case 8:
            c.round = Round::kUp;
            c.to_integer_value = true;
            break;
        case 4:
            c.round = Round::kNearestAway;
            break;
        default:
            break;
    }
}

template <class D, class S>
struct Cast {
    D operator()(S a) const { return static_cast<D>(a); }
};

// Conversions between registers of exactly these types, whose plain C++ cast is right, and those of float and half.
Handler quick(const std::string& opcode) {
    static const std::unordered_map<std::string, Handler> handlers{
        {"cvt.s64.s32", &Lanes<Cast<S64, S32>, S64, S32>::run},
        {"cvt.u64.u32", &Lanes<Cast<U64, U32>, U64, U32>::run},
        {"cvt.u32.u64", &Lanes<Cast<U32, U64>, U32, U64>::run},
        {"cvt.s32.s64", &Lanes<Cast<U32, U64>, U32, U64>::run},
        {"cvt.u32.u16", &Lanes<Cast<U32, U16>, U32, U16>::run},
        {"cvt.s32.s16", &Lanes<Cast<S32, S16>, S32, S16>::run},
        {"cvt.u16.u32", &Lanes<Cast<U16, U32>, U16, U32>::run},
        {"cvt.rn.f32.s32", &Lanes<Cast<float, S32>, float, S32>::run},
        {"cvt.rn.f32.u32", &Lanes<Cast<float, U32>, float, U32>::run},
        {"cvt.rn.f64.s32", &Lanes<Cast<double, S32>, double, S32>::run},
        {"cvt.rn.f64.u32", &Lanes<Cast<double, U32>, double, U32>::run},
        {"cvt.f64.f32", &Lanes<Cast<double, float>, double, float>::run},
        {"cvt.f32.f16", &Lanes<decltype([](Half a) { return canonical(to_float(a)); }), float, Half>::run},
        {"cvt.f32.bf16", &Lanes<decltype([](BFloat a) { return canonical(to_float(a)); }), float, BFloat>::run},
        {"cvt.rn.f16.f32", &Lanes<decltype([](float a) { return nearest_half(a); }), Half, float>::run},
        {"cvt.rn.bf16.f32", &Lanes<decltype([](float a) { return nearest_bfloat(a); }), BFloat, float>::run},
        {"cvt.rn.f16x2.f32",
         &Lanes<decltype([](float a, float b) { return U32(nearest_half(b).bits) | U32(nearest_half(a).bits) << 16; }),
                U32, float, float>::run},
        {"cvt.rn.bf16x2.f32", &Lanes<decltype([](float a, float b) {
                                         return U32(nearest_bfloat(b).bits) | U32(nearest_bfloat(a).bits) << 16;
                                     }),
                                     U32, float, float>::run},
    };
    const auto found = handlers.find(opcode);
    return found == handlers.end() ? nullptr : found->second;
}

void build_pair(Builder& b, Conversion c, const std::string& type) {
    c.to = type == "f16x2" ? "f16" : "bf16";
    if (c.from != "f32") throw Error("expected f32, got ." + c.from);
    b.no_more_modifiers();
    b.expect_operands(3, 3);
    const Handler run = quick(b.source.opcode);
    Step& s = b.emit(run ? run : &convert_pair, {b.place(0, 4), b.place(1, 4), b.place(2, 4)});
    b.attach<Conversion>(s) = c;
}

void build_eight_bits(Builder& b, Conversion c) {
    const bool narrows = c.to[0] == 'e', halves = c.from == "f16x2";
    if (narrows && !b.has("satfinite")) throw Error("expected .satfinite");
    if (c.round != Round::kNearest || c.to_integer_value) throw Error("expected .rn");
    if (narrows ? !halves && c.from != "f32" : c.to != "f16x2") throw Error("the machine does not convert these types");
    b.no_more_modifiers();
    const bool two = narrows && !halves;
    b.expect_operands(two ? 3 : 2, two ? 3 : 2);
    (narrows ? c.to : c.from).resize(4);
    std::vector<uint32_t> places{b.place(0, narrows ? 2 : 4), b.place(1, narrows ? 4 : 2)};
    if (two) places.push_back(b.place(2, 4));
    Step& s = b.emit(two       ? &convert_to_eight_bits
                     : narrows ? &convert_halves_to_eight_bits
                               : &convert_from_eight_bits,
                     places);
    b.attach<Conversion>(s) = c;
}

void build_cvt(Builder& b) {
    Conversion c;
    c.from = b.type();
    c.to = b.type(1);
    read_rounding(b, c);
    c.ftz = b.has("ftz");
    c.sat = b.has("sat");
    c.relu = b.has("relu");
    const auto of_eight_bits = [](const std::string& type) { return type == "e4m3x2" || type == "e5m2x2"; };
    if (of_eight_bits(c.to) || of_eight_bits(c.from)) return build_eight_bits(b, c);
    if (c.to == "f16x2" || c.to == "bf16x2") return build_pair(b, c, c.to);
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    for (const std::string& type : {c.from, c.to}) {
        if (!bytes_of_type(type) || type.find('x') != std::string::npos || type[0] == 'e')
            throw Error("the machine does not convert ." + type);
    }
    const uint32_t to = std::max(2u, bytes_of_type(c.to)), from = std::max(2u, bytes_of_type(c.from));
    // 9.4.1: a register may be wider than the type.
    c.to_register = std::max(to, b.width(b.operand(0)));
    c.from_register = std::max(from, b.width(b.operand(1)));
    const Handler run = c.to_register == to && c.from_register == from ? quick(b.source.opcode) : nullptr;
    Step& s = b.emit(run ? run : &convert, {b.place(0, c.to_register), b.place(1, c.from_register)});
    b.attach<Conversion>(s) = c;
}

}  // namespace

void add_conversion(Table& t) {
    t.section("9.7.9 cvt");
    t.family("cvt", build_cvt);
}

}  // namespace convgpu::ptx
