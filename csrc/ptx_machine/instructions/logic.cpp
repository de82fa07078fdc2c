// 9.7.8 Logic and Shift Instructions.
#include <algorithm>

#include "../table.h"

namespace convgpu::ptx {
namespace {

// Predicates are masks: one operation does 32 lanes. op: d, a, b.
template <class F>
void on_predicates(Warp& w, const Step& s, Mask lanes) {
    w.set_predicate(s.op[0], lanes, F{}(w.predicate(s.op[1]), w.predicate(s.op[2])));
}

template <class F>
void bits(Table& t, const std::string& name, F f) {
    t.typed<U16, U16, U16>(name + ".b16", f);
    t.typed<U32, U32, U32>(name + ".b32", f);
    t.typed<U64, U64, U64>(name + ".b64", f);
    t.add(name + ".pred", &on_predicates<F>, {kPredicate, kPredicate, kPredicate});
}

// Shifts by as many bits as there are, or more, leave zeros, or the sign where there is one.
auto shift_left = [](auto a, U32 n) { return n < 8 * sizeof(a) ? static_cast<decltype(a)>(a << n) : decltype(a)(0); };
auto shift_right = [](auto a, U32 n) {
    constexpr U32 kBits = 8 * sizeof(a);
    return static_cast<decltype(a)>(a >> (n < kBits ? n : kBits - 1) >>
                                    (n < kBits || std::is_signed_v<decltype(a)> ? 0 : 1));
};

template <bool kLeft, bool kWrap>
struct Funnel {
    U32 operator()(U32 low, U32 high, U32 count) const {
        const U32 n = kWrap ? count & 31 : std::min(count, 32u);
        const U64 both = U64(high) << 32 | low;
        return static_cast<U32>(kLeft ? both << n >> 32 : both >> n);
    }
};

// Bit k of the table is the result where a, b and c are the bits 2, 1 and 0 of k. op: d, a, b, c, table.
void three_inputs(Warp& w, const Step& s, Mask lanes) {
    U32* d = w.lanes<U32>(s.op[0]);
    const U32 *a = w.lanes<U32>(s.op[1]), *b = w.lanes<U32>(s.op[2]), *c = w.lanes<U32>(s.op[3]);
    const U32 table = *w.lanes<U32>(s.op[4]);
    U32 m[8], r[32];
    for (int k = 0; k < 8; ++k) m[k] = table >> k & 1 ? 0xffffffffu : 0;
    CONVGPU_LANES {
        const U32 x = a[l], y = b[l], z = c[l];
        r[l] = (m[0] & ~x & ~y & ~z) | (m[1] & ~x & ~y & z) | (m[2] & ~x & y & ~z) | (m[3] & ~x & y & z) |
               (m[4] & x & ~y & ~z) | (m[5] & x & ~y & z) | (m[6] & x & y & ~z) | (m[7] & x & y & z);
    }
    if (lanes == kFull) {
        CONVGPU_LANES d[l] = r[l];
    } else {
        for (Mask rest = lanes; rest; rest &= rest - 1) d[__builtin_ctz(rest)] = r[__builtin_ctz(rest)];
    }
}

}  // namespace

void add_logic(Table& t) {
    t.section("9.7.8.1");
    bits(t, "and", [](auto a, auto b) { return static_cast<decltype(a)>(a & b); });
    t.section("9.7.8.2");
    bits(t, "or", [](auto a, auto b) { return static_cast<decltype(a)>(a | b); });
    t.section("9.7.8.3");
    bits(t, "xor", [](auto a, auto b) { return static_cast<decltype(a)>(a ^ b); });
    t.section("9.7.8.4");
    const auto inverse = [](auto a) { return static_cast<decltype(a)>(~a); };
    t.typed<U16, U16>("not.b16", inverse);
    t.typed<U32, U32>("not.b32", inverse);
    t.typed<U64, U64>("not.b64", inverse);
    t.add("not.pred",
          [](Warp& w, const Step& s, Mask lanes) { w.set_predicate(s.op[0], lanes, ~w.predicate(s.op[1])); },
          {kPredicate, kPredicate});
    t.section("9.7.8.5");
    const auto is_zero = [](auto a) { return static_cast<decltype(a)>(a == 0); };
    t.typed<U16, U16>("cnot.b16", is_zero);
    t.typed<U32, U32>("cnot.b32", is_zero);
    t.typed<U64, U64>("cnot.b64", is_zero);
    t.section("9.7.8.6");
    t.add("lop3.b32", &three_inputs, {4, 4, 4, 4, 4});
    t.section("9.7.8.7");
    t.typed<U32, U32, U32, U32>("shf.l.wrap.b32", Funnel<true, true>{});
    t.typed<U32, U32, U32, U32>("shf.r.wrap.b32", Funnel<false, true>{});
    t.typed<U32, U32, U32, U32>("shf.l.clamp.b32", Funnel<true, false>{});
    t.typed<U32, U32, U32, U32>("shf.r.clamp.b32", Funnel<false, false>{});
    t.section("9.7.8.8");
    t.typed<U16, U16, U32>("shl.b16", shift_left);
    t.typed<U32, U32, U32>("shl.b32", shift_left);
    t.typed<U64, U64, U32>("shl.b64", shift_left);
    t.section("9.7.8.9");
    for (const char* type : {"b", "u"}) {
        t.typed<U16, U16, U32>(std::string("shr.") + type + "16", shift_right);
        t.typed<U32, U32, U32>(std::string("shr.") + type + "32", shift_right);
        t.typed<U64, U64, U32>(std::string("shr.") + type + "64", shift_right);
    }
    t.typed<S16, S16, U32>("shr.s16", shift_right);
    t.typed<S32, S32, U32>("shr.s32", shift_right);
    t.typed<S64, S64, U32>("shr.s64", shift_right);
}

}  // namespace convgpu::ptx
