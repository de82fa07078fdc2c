// 9.7.1 Integer Arithmetic Instructions, and 9.7.2 Extended-Precision Integer Arithmetic Instructions.
#include <algorithm>
#include <limits>

#include "../table.h"

namespace convgpu::ptx {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
constexpr bool kSigned = std::is_signed_v<T>;
template <class T>
constexpr U32 kBits = 8 * sizeof(T);

// Integers wrap around: they are computed without sign, and wide enough that C++ does not promote them to int.
template <class T>
using Wide = std::conditional_t<sizeof(T) == 8, U64, U32>;
template <class T, class F>
T wrapped(F f, T a, T b) {
    return static_cast<T>(f(static_cast<Wide<T>>(a), static_cast<Wide<T>>(b)));
}

auto sum = [](auto a, auto b) { return wrapped([](auto x, auto y) { return x + y; }, a, b); };
auto difference = [](auto a, auto b) { return wrapped([](auto x, auto y) { return x - y; }, a, b); };
auto low_product = [](auto a, auto b) { return wrapped([](auto x, auto y) { return x * y; }, a, b); };
auto high_product = [](auto a, auto b) {
    using T = decltype(a);
    if constexpr (sizeof(T) == 8) {
        using Twice = std::conditional_t<kSigned<T>, __int128, unsigned __int128>;
        return static_cast<T>(static_cast<Twice>(a) * static_cast<Twice>(b) >> 64);
    } else {
        using Twice = std::conditional_t<kSigned<T>, S64, U64>;
        return static_cast<T>(static_cast<Twice>(a) * static_cast<Twice>(b) >> kBits<T>);
    }
};
// Division by zero has no result in the manual; GPUs give all ones, and the dividend as the remainder.
auto quotient = [](auto a, auto b) {
    using T = decltype(a);
    if (b == 0) return static_cast<T>(-1);
    if (kSigned<T> && b == static_cast<T>(-1)) return static_cast<T>(0 - static_cast<Wide<T>>(a));
    return static_cast<T>(a / b);
};
auto remainder_of = [](auto a, auto b) {
    using T = decltype(a);
    if (b == 0) return a;
    if (kSigned<T> && b == static_cast<T>(-1)) return T(0);
    return static_cast<T>(a % b);
};
auto saturated_sum = [](S32 a, S32 b) { return static_cast<S32>(std::clamp<S64>(S64(a) + b, INT32_MIN, INT32_MAX)); };
auto saturated_difference = [](S32 a, S32 b) {
    return static_cast<S32>(std::clamp<S64>(S64(a) - b, INT32_MIN, INT32_MAX));
};
auto extract = [](auto a, U32 position, U32 length) {
    using T = decltype(a);
    const U32 p = position & 255, n = length & 255;
    if (!n) return T(0);
    const U32 last = std::min(p + n - 1, kBits<T> - 1);
    const bool sign = kSigned<T> && (Unsigned<T>(a) >> last & 1);
    Unsigned<T> r = p < kBits<T> ? static_cast<Unsigned<T>>(Unsigned<T>(a) >> p) : Unsigned<T>(0);
    const U32 kept = p < kBits<T> ? std::min(n, kBits<T> - p) : 0;
    if (kept < kBits<T>) {
        const auto low = static_cast<Unsigned<T>>((Unsigned<T>(1) << kept) - 1);
        r = static_cast<Unsigned<T>>((r & low) | (sign ? static_cast<Unsigned<T>>(~low) : Unsigned<T>(0)));
    }
    return static_cast<T>(r);
};
auto insert = [](auto a, auto b, U32 position, U32 length) {
    using T = decltype(a);
    const U32 p = position & 255, n = std::min(length & 255, kBits<T>);
    if (p >= kBits<T> || !n) return b;
    const T low = n == kBits<T> ? static_cast<T>(~T(0)) : static_cast<T>((T(1) << n) - 1);
    return static_cast<T>((b & ~(low << p)) | (a & low) << p);
};
auto reversed = [](auto a) {
    decltype(a) r = 0;
    for (U32 k = 0; k < kBits<decltype(a)>; ++k) r |= (a >> k & 1) << (kBits<decltype(a)> - 1 - k);
    return r;
};
// The place of the highest bit that differs from the sign; all ones if there is none.
auto find_bit = [](auto a) -> U32 {
    using T = decltype(a);
    const auto u = static_cast<U64>(static_cast<Unsigned<T>>(kSigned<T> && a < 0 ? static_cast<T>(~a) : a));
    return u ? 63 - static_cast<U32>(__builtin_clzll(u)) : 0xffffffffu;
};
auto shift_amount = [](auto a) -> U32 {  // bfind.shiftamt
    using T = decltype(a);
    const U32 at = decltype(find_bit){}(a);
    return at == 0xffffffffu ? at : kBits<T> - 1 - at;
};
auto low_24 = [](auto a, auto b) {
    using T = decltype(a);
    const auto cut = [](T x) {
        return static_cast<S64>(kSigned<T> ? S64(S32(U32(x) << 8) >> 8) : S64(U32(x) & 0xffffff));
    };
    return static_cast<T>(cut(a) * cut(b));
};

template <class A, class B>
S32 dot4(U32 a, U32 b, S32 c) {
    for (int k = 0; k < 4; ++k) {
        c = static_cast<S32>(static_cast<U32>(c) +
                             static_cast<U32>(S32(static_cast<A>(a >> 8 * k)) * S32(static_cast<B>(b >> 8 * k))));
    }
    return c;
}
template <class A, class B, int kHigh>
S32 dot2(U32 a, U32 b, S32 c) {
    using A16 = std::conditional_t<kSigned<A>, S16, U16>;
    for (int k = 0; k < 2; ++k) {
        c = static_cast<S32>(static_cast<U32>(c) + static_cast<U32>(S32(static_cast<A16>(a >> 16 * k)) *
                                                                    S32(static_cast<B>(b >> (8 * k + 16 * kHigh)))));
    }
    return c;
}

// 9.7.2: the carry is a register of one bit for each lane, CC.CF, which the machine keeps as a predicate of the warp.
// op: d, a, b (, c), carry.
template <class T, bool kSubtract, bool kCarryIn, bool kCarryOut>
void add_with_carry(Warp& w, const Step& s, Mask lanes) {
    const Mask carry = w.predicate(s.op[3]);
    Mask out = 0;
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        const auto a = static_cast<unsigned __int128>(w.lanes<T>(s.op[1])[l]),
                   b = static_cast<unsigned __int128>(w.lanes<T>(s.op[2])[l]);
        const unsigned __int128 in = kCarryIn ? carry >> l & 1 : 0;
        const unsigned __int128 r = kSubtract ? a - b - in : a + b + in;
        w.lanes<T>(s.op[0])[l] = static_cast<T>(r);
        out |= static_cast<Mask>(r >> kBits<T> & 1) << l;
    }
    if (kCarryOut) w.set_predicate(s.op[3], lanes, out);
}
template <class T, bool kHigh, bool kCarryIn, bool kCarryOut>
void multiply_add_with_carry(Warp& w, const Step& s, Mask lanes) {
    const Mask carry = w.predicate(s.op[4]);
    Mask out = 0;
    using Twice = std::conditional_t<sizeof(T) == 8, std::conditional_t<kSigned<T>, __int128, unsigned __int128>,
                                     std::conditional_t<kSigned<T>, S64, U64>>;
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        const Twice product = static_cast<Twice>(w.lanes<T>(s.op[1])[l]) * static_cast<Twice>(w.lanes<T>(s.op[2])[l]);
        const auto part = static_cast<Unsigned<T>>(kHigh ? product >> kBits<T> : product);
        const unsigned __int128 r = static_cast<unsigned __int128>(part) +
                                    static_cast<Unsigned<T>>(w.lanes<T>(s.op[3])[l]) + (kCarryIn ? carry >> l & 1 : 0);
        w.lanes<T>(s.op[0])[l] = static_cast<T>(r);
        out |= static_cast<Mask>(r >> kBits<T> & 1) << l;
    }
    if (kCarryOut) w.set_predicate(s.op[4], lanes, out);
}

uint32_t carry_place(Builder& b) {
    uint32_t& place = b.kernel().carry;
    if (place == kNone) place = b.scratch(kPredicate);
    return place;
}

template <class T, bool kSubtract>
Handler carry_handler(bool in, bool out) {
    if (in) return out ? &add_with_carry<T, kSubtract, true, true> : &add_with_carry<T, kSubtract, true, false>;
    return &add_with_carry<T, kSubtract, false, true>;
}
template <class T>
Handler multiply_handler(bool high, bool in, bool out) {
    if (high) {
        if (in)
            return out ? &multiply_add_with_carry<T, true, true, true> : &multiply_add_with_carry<T, true, true, false>;
        return &multiply_add_with_carry<T, true, false, true>;
    }
    if (in)
        return out ? &multiply_add_with_carry<T, false, true, true> : &multiply_add_with_carry<T, false, true, false>;
    return &multiply_add_with_carry<T, false, false, true>;
}

void build_carry(Builder& b) {  // add.cc, addc, sub.cc, subc
    const std::string name = b.source.words[0], type = b.type();
    const bool subtract = name.substr(0, 3) == "sub", in = name.back() == 'c', out = b.has("cc");
    b.no_more_modifiers();
    b.expect_operands(3, 3);
    const bool wide = bytes_of_type(type) == 8;
    const uint32_t n = wide ? 8 : 4;
    if (bytes_of_type(type) != n) throw Error("expected a type of 32 or 64 bits");
    const Handler run = wide ? (subtract ? carry_handler<U64, true>(in, out) : carry_handler<U64, false>(in, out))
                             : (subtract ? carry_handler<U32, true>(in, out) : carry_handler<U32, false>(in, out));
    b.emit(run, {b.place(0, n), b.place(1, n), b.place(2, n), carry_place(b)});
}

void build_multiply_carry(Builder& b) {  // mad.lo.cc, madc
    const std::string type = b.type();
    const bool in = b.source.words[0] == "madc", out = b.has("cc"), high = b.one_of({"lo", "hi"});
    b.no_more_modifiers();
    b.expect_operands(4, 4);
    const uint32_t n = bytes_of_type(type);
    const Handler run = type == "u32"   ? multiply_handler<U32>(high, in, out)
                        : type == "s32" ? multiply_handler<S32>(high, in, out)
                        : type == "u64" ? multiply_handler<U64>(high, in, out)
                        : type == "s64" ? multiply_handler<S64>(high, in, out)
                                        : nullptr;
    if (!run) throw Error("expected u32, s32, u64 or s64");
    b.emit(run, {b.place(0, n), b.place(1, n), b.place(2, n), b.place(3, n), carry_place(b)});
}

#define INTEGERS U16, S16, U32, S32, U64, S64

}  // namespace

void add_integer(Table& t) {
    t.section("9.7.1.1");
    t.lanes<INTEGERS>("add", sum);
    t.typed<S32, S32, S32>("add.sat.s32", saturated_sum);
    t.section("9.7.1.2");
    t.lanes<INTEGERS>("sub", difference);
    t.typed<S32, S32, S32>("sub.sat.s32", saturated_difference);

    t.section("9.7.1.3");
    t.lanes<INTEGERS>("mul.lo", low_product);
    t.lanes<INTEGERS>("mul.hi", high_product);
    t.typed<U32, U16, U16>("mul.wide.u16", [](U16 a, U16 b) { return U32(a) * b; });
    t.typed<S32, S16, S16>("mul.wide.s16", [](S16 a, S16 b) { return S32(a) * b; });
    t.typed<U64, U32, U32>("mul.wide.u32", [](U32 a, U32 b) { return U64(a) * b; });
    t.typed<S64, S32, S32>("mul.wide.s32", [](S32 a, S32 b) { return S64(a) * b; });

    t.section("9.7.1.4");
    t.lanes<INTEGERS>("mad.lo",
                      [](auto a, auto b, auto c) { return decltype(sum){}(decltype(low_product){}(a, b), c); });
    t.lanes<INTEGERS>("mad.hi",
                      [](auto a, auto b, auto c) { return decltype(sum){}(decltype(high_product){}(a, b), c); });
    t.typed<S32, S32, S32, S32>("mad.hi.sat.s32", [](S32 a, S32 b, S32 c) {
        return decltype(saturated_sum){}(decltype(high_product){}(a, b), c);
    });
    t.typed<U32, U16, U16, U32>("mad.wide.u16", [](U16 a, U16 b, U32 c) { return U32(a) * b + c; });
    t.typed<S32, S16, S16, S32>("mad.wide.s16",
                                [](S16 a, S16 b, S32 c) { return static_cast<S32>(U32(S32(a) * b) + U32(c)); });
    t.typed<U64, U32, U32, U64>("mad.wide.u32", [](U32 a, U32 b, U64 c) { return U64(a) * b + c; });
    t.typed<S64, S32, S32, S64>("mad.wide.s32",
                                [](S32 a, S32 b, S64 c) { return static_cast<S64>(U64(S64(a) * b) + U64(c)); });

    t.section("9.7.1.5");
    t.lanes<U32, S32>("mul24.lo", low_24);
    t.section("9.7.1.6");
    t.lanes<U32, S32>("mad24.lo", [](auto a, auto b, auto c) { return decltype(sum){}(decltype(low_24){}(a, b), c); });
    t.section("9.7.1.7");
    t.lanes<INTEGERS>("sad", [](auto a, auto b, auto c) {
        return decltype(sum){}(c, a < b ? decltype(difference){}(b, a) : decltype(difference){}(a, b));
    });

    t.section("9.7.1.8");
    t.lanes<INTEGERS>("div", quotient);
    t.section("9.7.1.9");
    t.lanes<INTEGERS>("rem", remainder_of);
    t.section("9.7.1.10");
    t.lanes<S16, S32, S64>("abs", [](auto a) { return a < 0 ? decltype(difference){}(decltype(a)(0), a) : a; });
    t.section("9.7.1.11");
    t.lanes<S16, S32, S64>("neg", [](auto a) { return decltype(difference){}(decltype(a)(0), a); });
    t.section("9.7.1.12");
    t.lanes<INTEGERS>("min", [](auto a, auto b) { return a < b ? a : b; });
    t.typed<S32, S32, S32>("min.relu.s32", [](S32 a, S32 b) { return std::max(0, std::min(a, b)); });
    t.section("9.7.1.13");
    t.lanes<INTEGERS>("max", [](auto a, auto b) { return a > b ? a : b; });
    t.typed<S32, S32, S32>("max.relu.s32", [](S32 a, S32 b) { return std::max(0, std::max(a, b)); });

    t.section("9.7.1.14");
    t.typed<U32, U32>("popc.b32", [](U32 a) { return static_cast<U32>(__builtin_popcount(a)); });
    t.typed<U32, U64>("popc.b64", [](U64 a) { return static_cast<U32>(__builtin_popcountll(a)); });
    t.section("9.7.1.15");
    t.typed<U32, U32>("clz.b32", [](U32 a) { return a ? static_cast<U32>(__builtin_clz(a)) : 32u; });
    t.typed<U32, U64>("clz.b64", [](U64 a) { return a ? static_cast<U32>(__builtin_clzll(a)) : 64u; });
    t.section("9.7.1.16");
    t.typed<U32, U32>("bfind.u32", find_bit);
    t.typed<U32, S32>("bfind.s32", find_bit);
    t.typed<U32, U64>("bfind.u64", find_bit);
    t.typed<U32, S64>("bfind.s64", find_bit);
    t.typed<U32, U32>("bfind.shiftamt.u32", shift_amount);
    t.typed<U32, S32>("bfind.shiftamt.s32", shift_amount);
    t.typed<U32, U64>("bfind.shiftamt.u64", shift_amount);
    t.typed<U32, S64>("bfind.shiftamt.s64", shift_amount);
    t.section("9.7.1.17");  // the n-th set bit from a base upwards, or downwards if n is negative
    t.typed<U32, U32, U32, S32>("fns.b32", [](U32 mask, U32 base, S32 n) -> U32 {
        if (!n) return base < 32 && mask >> base & 1 ? base : 0xffffffffu;
        const int step = n > 0 ? 1 : -1;
        for (S64 at = base, left = n > 0 ? S64(n) : -S64(n); at >= 0 && at < 32; at += step) {
            if (mask >> at & 1 && !--left) return static_cast<U32>(at);
        }
        return 0xffffffffu;
    });
    t.section("9.7.1.18");
    t.typed<U32, U32>("brev.b32", reversed);
    t.typed<U64, U64>("brev.b64", reversed);
    t.section("9.7.1.19");
    t.typed<U32, U32, U32, U32>("bfe.u32", extract);
    t.typed<S32, S32, U32, U32>("bfe.s32", extract);
    t.typed<U64, U64, U32, U32>("bfe.u64", extract);
    t.typed<S64, S64, U32, U32>("bfe.s64", extract);
    t.section("9.7.1.20");
    t.typed<U32, U32, U32, U32, U32>("bfi.b32", insert);
    t.typed<U64, U64, U64, U32, U32>("bfi.b64", insert);
    t.section("9.7.1.21");
    t.typed<U32, U32, U32>("szext.wrap.u32", [](U32 a, U32 n) { return n & 31 ? a & ((1u << (n & 31)) - 1) : 0u; });
    t.typed<S32, S32, U32>("szext.wrap.s32",
                           [](S32 a, U32 n) { return n & 31 ? S32(U32(a) << (32 - (n & 31))) >> (32 - (n & 31)) : 0; });
    t.typed<U32, U32, U32>("szext.clamp.u32", [](U32 a, U32 n) { return n >= 32 ? a : n ? a & ((1u << n) - 1) : 0u; });
    t.typed<S32, S32, U32>("szext.clamp.s32", [](S32 a, U32 n) {
        return n >= 32 ? a : n ? S32(U32(a) << (32 - n)) >> (32 - n) : 0;
    });
    t.section("9.7.1.22");
    t.typed<U32, U32, U32>("bmsk.wrap.b32", [](U32 a, U32 n) { return ((1u << (n & 31)) - 1) << (a & 31); });
    t.typed<U32, U32, U32>("bmsk.clamp.b32",
                           [](U32 a, U32 n) { return a >= 32 ? 0u : (n >= 32 ? 0xffffffffu : (1u << n) - 1) << a; });

    t.section("9.7.1.23");
    t.typed<S32, U32, U32, S32>("dp4a.u32.u32", [](U32 a, U32 b, S32 c) { return dot4<U8, U8>(a, b, c); });
    t.typed<S32, U32, U32, S32>("dp4a.s32.s32", [](U32 a, U32 b, S32 c) { return dot4<S8, S8>(a, b, c); });
    t.typed<S32, U32, U32, S32>("dp4a.u32.s32", [](U32 a, U32 b, S32 c) { return dot4<U8, S8>(a, b, c); });
    t.typed<S32, U32, U32, S32>("dp4a.s32.u32", [](U32 a, U32 b, S32 c) { return dot4<S8, U8>(a, b, c); });
    t.section("9.7.1.24");
    t.typed<S32, U32, U32, S32>("dp2a.lo.u32.u32", [](U32 a, U32 b, S32 c) { return dot2<U8, U8, 0>(a, b, c); });
    t.typed<S32, U32, U32, S32>("dp2a.lo.s32.s32", [](U32 a, U32 b, S32 c) { return dot2<S8, S8, 0>(a, b, c); });
    t.typed<S32, U32, U32, S32>("dp2a.hi.u32.u32", [](U32 a, U32 b, S32 c) { return dot2<U8, U8, 1>(a, b, c); });
    t.typed<S32, U32, U32, S32>("dp2a.hi.s32.s32", [](U32 a, U32 b, S32 c) { return dot2<S8, S8, 1>(a, b, c); });

    t.section("9.7.2");
    t.family("add.cc", build_carry);
    t.family("addc", build_carry);
    t.family("sub.cc", build_carry);
    t.family("subc", build_carry);
    t.family("mad.lo.cc", build_multiply_carry);
    t.family("mad.hi.cc", build_multiply_carry);
    t.family("madc", build_multiply_carry);
}

}  // namespace convgpu::ptx
