// 9.7.6 Comparison and Selection Instructions, and 9.7.7 Half Precision Comparison Instructions.
#include "numbers.h"

namespace convgpu::ptx {
namespace {

// Comparisons of floats are false where one is a NaN, but those with a u at their end, and ne is ordered too.
using Equal = decltype([](auto a, auto b) { return a == b; });
using NotEqual = decltype([](auto a, auto b) { return a < b || a > b; });
using Less = decltype([](auto a, auto b) { return a < b; });
using LessEqual = decltype([](auto a, auto b) { return a <= b; });
using Greater = decltype([](auto a, auto b) { return a > b; });
using GreaterEqual = decltype([](auto a, auto b) { return a >= b; });
using NumbersBoth = decltype([](auto a, auto b) { return a == a && b == b; });
template <class F>
struct Not {
    bool operator()(auto a, auto b) const { return !F{}(a, b); }
};
template <class F>
struct Plain : F {};
template <class F>
struct Flushed {
    bool operator()(float a, float b) const { return F{}(flushed(a), flushed(b)); }
};
template <class F>
struct AsFloats {  // of f16 and bf16
    bool operator()(auto a, auto b) const { return F{}(to_float(a), to_float(b)); }
};

template <class T, template <class> class Wrap>
Handler handler(const std::string& c) {
    static const std::vector<std::pair<const char*, Handler>> handlers{
        {"eq", &Compare<Wrap<Equal>, T, T>::run},
        {"ne", &Compare<Wrap<NotEqual>, T, T>::run},
        {"lt", &Compare<Wrap<Less>, T, T>::run},
        {"lo", &Compare<Wrap<Less>, T, T>::run},
        {"le", &Compare<Wrap<LessEqual>, T, T>::run},
        {"ls", &Compare<Wrap<LessEqual>, T, T>::run},
        {"gt", &Compare<Wrap<Greater>, T, T>::run},
        {"hi", &Compare<Wrap<Greater>, T, T>::run},
        {"ge", &Compare<Wrap<GreaterEqual>, T, T>::run},
        {"hs", &Compare<Wrap<GreaterEqual>, T, T>::run},
        {"equ", &Compare<Wrap<Not<NotEqual>>, T, T>::run},
        {"neu", &Compare<Wrap<Not<Equal>>, T, T>::run},
        {"ltu", &Compare<Wrap<Not<GreaterEqual>>, T, T>::run},
        {"leu", &Compare<Wrap<Not<Greater>>, T, T>::run},
        {"gtu", &Compare<Wrap<Not<LessEqual>>, T, T>::run},
        {"geu", &Compare<Wrap<Not<Less>>, T, T>::run},
        {"num", &Compare<Wrap<NumbersBoth>, T, T>::run},
        {"nan", &Compare<Wrap<Not<NumbersBoth>>, T, T>::run}};
    for (const auto& [name, run] : handlers) {
        if (c == name) return run;
    }
    throw Error("expected a comparison, got ." + c);
}

Handler handler_of(const std::string& c, const std::string& type, bool flush) {
    if (type == "f32") return flush ? handler<float, Flushed>(c) : handler<float, Plain>(c);
    if (type == "f64") return handler<double, Plain>(c);
    if (type == "f16") return handler<Half, AsFloats>(c);
    if (type == "bf16") return handler<BFloat, AsFloats>(c);
    if (type == "s16") return handler<S16, Plain>(c);
    if (type == "s32") return handler<S32, Plain>(c);
    if (type == "s64") return handler<S64, Plain>(c);
    if (type == "u16" || type == "b16") return handler<U16, Plain>(c);
    if (type == "u32" || type == "b32") return handler<U32, Plain>(c);
    if (type == "u64" || type == "b64") return handler<U64, Plain>(c);
    throw Error("expected a type, got ." + type);
}

// op: p, q, c: p = p OP c, q = q OP c, after a comparison that has set p and q.
template <class F>
void combine(Warp& w, const Step& s, Mask lanes) {
    const Mask c = w.predicate(s.op[2]);
    w.set_predicate(s.op[0], lanes, F{}(w.predicate(s.op[3]), c));
    if (s.op[1] != kNone) w.set_predicate(s.op[1], lanes, F{}(~w.predicate(s.op[3]), c));
}
using And = decltype([](Mask a, Mask b) { return a & b; });
using Or = decltype([](Mask a, Mask b) { return a | b; });
using Xor = decltype([](Mask a, Mask b) { return a ^ b; });

// setp.CMP{.BOOL}{.ftz}.TYPE p|q, a, b{, c}
void build_setp(Builder& b) {
    const std::string type = b.type(), comparison = b.source.words[1];
    b.has(comparison.c_str());
    const bool flush = b.has("ftz");
    const int boolean = b.one_of({"and", "or", "xor"}, 3);
    b.no_more_modifiers();
    b.expect_operands(boolean < 3 ? 4 : 3, boolean < 3 ? 4 : 3);
    const auto [p, q] = b.pair(0, kPredicate, kPredicate);
    const uint32_t n = bytes_of_type(type), x = b.place(1, n), y = b.place(2, n);
    const Handler run = handler_of(comparison, type, flush);
    if (boolean == 3) {
        b.emit(run, {p, q, x, y});
        return;
    }
    static constexpr Handler handlers[] = {&combine<And>, &combine<Or>, &combine<Xor>};
    const uint32_t c = b.place(3, kPredicate), compared = b.scratch(kPredicate);
    b.emit(run, {compared, kNone, x, y});
    b.emit(handlers[boolean], {p, q, c, compared});
}

// set.CMP{.ftz}.DTYPE.STYPE d, a, b: all ones, or 1.0 in a float
template <class D>
void set_value(Warp& w, const Step& s, Mask lanes) {
    const Mask p = w.predicate(s.op[1]);
    const D yes = std::is_same_v<D, float> ? D(1) : D(-1);
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        w.lanes<D>(s.op[0])[l] = p >> l & 1 ? yes : D(0);
    }
}
void build_set(Builder& b) {
    const std::string type = b.type(), to = b.type(1), comparison = b.source.words[1];
    b.has(comparison.c_str());
    const bool flush = b.has("ftz");
    b.no_more_modifiers();
    b.expect_operands(3, 3);
    const uint32_t n = bytes_of_type(type), compared = b.scratch(kPredicate);
    b.emit(handler_of(comparison, type, flush), {compared, kNone, b.place(1, n), b.place(2, n)});
    if (to == "f32")
        b.emit(&set_value<float>, {b.place(0, 4), compared});
    else if (to == "u32" || to == "s32")
        b.emit(&set_value<U32>, {b.place(0, 4), compared});
    else
        throw Error("expected u32, s32 or f32, got ." + to);
}

// op: d, a, b, p
template <class T>
void select(Warp& w, const Step& s, Mask lanes) {
    T* d = w.lanes<T>(s.op[0]);
    const T *a = w.lanes<const T>(s.op[1]), *b = w.lanes<const T>(s.op[2]);
    const Mask p = w.predicate(s.op[3]);
    if (lanes == kFull) {
        CONVGPU_LANES d[l] = p >> l & 1 ? a[l] : b[l];
    } else {
        for (Mask rest = lanes; rest; rest &= rest - 1) {
            const int l = __builtin_ctz(rest);
            d[l] = p >> l & 1 ? a[l] : b[l];
        }
    }
}
void build_selp(Builder& b) {
    const uint32_t n = bytes_of_type(b.type());
    b.no_more_modifiers();
    b.expect_operands(4, 4);
    b.emit(n == 2   ? &select<U16>
           : n == 4 ? &select<U32>
                    : &select<U64>,
           {b.place(0, n), b.place(1, n), b.place(2, n), b.place(3, kPredicate)});
}

}  // namespace

void add_comparison(Table& t) {
    t.section("9.7.6.1");
    t.family("set", build_set);
    t.section("9.7.6.2");
    t.family("setp", build_setp);
    t.section("9.7.6.3");
    t.family("selp", build_selp);
    t.section("9.7.6.4");  // slct.DTYPE.s32/f32 d, a, b, c: c >= 0 ? a : b
    for (const char* type : {"b32", "u32", "s32", "f32"}) {
        const std::string name = std::string("slct.") + type;
        t.typed<U32, U32, U32, S32>(name + ".s32", [](U32 a, U32 b, S32 c) { return c >= 0 ? a : b; });
        t.typed<U32, U32, U32, float>(name + ".f32", [](U32 a, U32 b, float c) { return c >= 0 ? a : b; });
    }
    for (const char* type : {"b64", "u64", "s64", "f64"}) {
        const std::string name = std::string("slct.") + type;
        t.typed<U64, U64, U64, S32>(name + ".s32", [](U64 a, U64 b, S32 c) { return c >= 0 ? a : b; });
        t.typed<U64, U64, U64, float>(name + ".f32", [](U64 a, U64 b, float c) { return c >= 0 ? a : b; });
    }
}

}  // namespace convgpu::ptx
