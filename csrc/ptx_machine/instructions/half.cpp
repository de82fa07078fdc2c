// 9.7.4 Half Precision Floating-Point Instructions: f16 and bf16, and two of them in 32 bits.
#include "numbers.h"

namespace convgpu::ptx {
namespace {

template <class T>
T nearest(double x) {
    if constexpr (std::is_same_v<T, Half>)
        return half_of(x);
    else
        return bfloat_of(x);
}
// Functions of doubles, rounded once. The arguments are exact in a double, and so are products; sums are rounded to
// odd, so that the second rounding is right.
auto rounded_sum = [](double a, double b) { return sum_to_odd(a, b); };
auto rounded_difference = [](double a, double b) { return sum_to_odd(a, -b); };
auto product = [](double a, double b) { return a * b; };
auto multiply_add = [](double a, double b, double c) { return sum_to_odd(a * b, c); };
auto least = [](double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
};
auto most = [](double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? b : a) : a > b ? a : b;
};
auto least_or_nan = [](double a, double b) { return a != a ? a : b != b ? b : decltype(least){}(a, b); };
auto most_or_nan = [](double a, double b) { return a != a ? a : b != b ? b : decltype(most){}(a, b); };

template <class F>
struct Relu {
    template <class... A>
        requires std::is_invocable_v<F, A...>
    double operator()(A... a) const {
        const double r = F{}(a...);
        return r != r ? r : r > 0 ? r : 0.0;
    }
};
template <class F>
struct Sat {
    template <class... A>
        requires std::is_invocable_v<F, A...>
    double operator()(A... a) const {
        return saturated(F{}(a...));
    }
};

template <class T, class F>
struct One {  // on one number
    template <class... A>
    T operator()(A... a) const {
        return nearest<T>(F{}(static_cast<double>(to_float(a))...));
    }
};
template <class T, class F>
struct Two {  // on two that lie in 32 bits
    template <class... A>
    U32 operator()(A... a) const {
        const T low = One<T, F>{}(T{static_cast<U16>(a)}...), high = One<T, F>{}(T{static_cast<U16>(a >> 16)}...);
        return low.bits | U32(high.bits) << 16;
    }
};

template <class F>
constexpr int arity() {
    return std::is_invocable_v<F, double> ? 1 : std::is_invocable_v<F, double, double> ? 2 : 3;
}

template <class T, class F>
void both(Table& t, const std::string& name, const char* type) {
    using F1 = One<T, F>;
    using F2 = Two<T, F>;
    const std::string one = name + "." + type, two = one + "x2";
    if constexpr (arity<F>() == 1) {
        t.add(one, &Lanes<F1, T, T>::run, {2, 2});
        t.add(two, &Lanes<F2, U32, U32>::run, {4, 4});
    } else if constexpr (arity<F>() == 2) {
        t.add(one, &Lanes<F1, T, T, T>::run, {2, 2, 2});
        t.add(two, &Lanes<F2, U32, U32, U32>::run, {4, 4, 4});
    } else {
        t.add(one, &Lanes<F1, T, T, T, T>::run, {2, 2, 2, 2});
        t.add(two, &Lanes<F2, U32, U32, U32, U32>::run, {4, 4, 4, 4});
    }
}
// NAME.f16, NAME.f16x2, NAME.bf16, NAME.bf16x2
template <class F>
void formats(Table& t, const std::string& name, F) {
    both<Half, F>(t, name, "f16");
    both<BFloat, F>(t, name, "bf16");
}
template <class F>
void rounded_sums(Table& t, const std::string& name, F f, bool plain) {
    if (plain) formats(t, name, f);
    formats(t, name + ".rn", f);
    both<Half, Sat<F>>(t, name + ".sat", "f16");
    both<Half, Sat<F>>(t, name + ".rn.sat", "f16");
}

// Of bits alone, so that NaNs keep theirs.
template <class F>
void of_bits(Table& t, const std::string& name, F) {
    for (const char* type : {".f16", ".bf16"}) {
        t.typed<U16, U16>(name + type, F{});
        t.typed<U32, U32>(name + type + "x2", [](U32 a) {
            return U32(F{}(static_cast<U16>(a))) | U32(F{}(static_cast<U16>(a >> 16))) << 16;
        });
    }
}

// 9.7.5: f32 = f16 or bf16 (+, fma) f32
template <class T>
void mixed(Table& t, const std::string& type) {
    for (const char* rounding : {"", ".rn"}) {
        t.typed<float, T, float>(std::string("add") + rounding + ".f32." + type,
                                 [](T a, float c) { return canonical(to_float(a) + c); });
        t.typed<float, T, float>(std::string("sub") + rounding + ".f32." + type,
                                 [](T a, float c) { return canonical(to_float(a) - c); });
    }
    t.typed<float, T, T, float>("fma.rn.f32." + type,
                                [](T a, T b, float c) { return canonical(std::fma(to_float(a), to_float(b), c)); });
}

}  // namespace

void add_half(Table& t) {
    t.section("9.7.4.1");
    rounded_sums(t, "add", rounded_sum, true);
    t.section("9.7.4.2");
    rounded_sums(t, "sub", rounded_difference, true);
    t.section("9.7.4.3");
    rounded_sums(t, "mul", product, true);
    t.section("9.7.4.4");
    rounded_sums(t, "fma", multiply_add, false);
    formats(t, "fma.rn.relu", Relu<decltype(multiply_add)>{});
    t.section("9.7.4.5");
    of_bits(t, "neg", [](U16 a) { return static_cast<U16>(a ^ 0x8000); });
    t.section("9.7.4.6");
    of_bits(t, "abs", [](U16 a) { return static_cast<U16>(a & 0x7fff); });
    t.section("9.7.4.7");
    formats(t, "min", least);
    formats(t, "min.NaN", least_or_nan);
    t.section("9.7.4.8");
    formats(t, "max", most);
    formats(t, "max.NaN", most_or_nan);
    t.section("9.7.4.9");
    formats(t, "tanh.approx", [](double a) { return std::tanh(a); });
    t.section("9.7.4.10");
    both<Half, decltype([](double a) { return std::exp2(a); })>(t, "ex2.approx", "f16");
    both<BFloat, decltype([](double a) { return std::exp2(a); })>(t, "ex2.approx.ftz", "bf16");
    t.section("9.7.5");
    mixed<Half>(t, "f16");
    mixed<BFloat>(t, "bf16");
}

}  // namespace convgpu::ptx
