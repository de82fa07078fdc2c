// 9.7.3 Floating-Point Instructions. Arithmetic is IEEE's; approximations are those of the host rounded to the nearest
// float, which lies within the error that the manual allows, while a GPU may give a neighbour.
#include <algorithm>

#include "numbers.h"

namespace convgpu::ptx {
namespace {

// .ftz: subnormal operands and results are zero. .sat: the result is clamped to [0, 1].
template <class F>
struct Flush {
    template <class... A>
        requires std::is_invocable_v<F, A...>
    auto operator()(A... a) const {
        return flushed(F{}(flushed(a)...));
    }
};
template <class F>
struct Saturate {
    template <class... A>
        requires std::is_invocable_v<F, A...>
    auto operator()(A... a) const {
        return saturated(F{}(a...));
    }
};
template <class F>
struct Canonical {
    template <class... A>
        requires std::is_invocable_v<F, A...>
    auto operator()(A... a) const {
        return canonical(F{}(a...));
    }
};

template <class F, class T>
constexpr Handler handler_of() {
    if constexpr (std::is_invocable_v<F, T>)
        return &Lanes<F, T, T>::run;
    else if constexpr (std::is_invocable_v<F, T, T>)
        return &Lanes<F, T, T, T>::run;
    else
        return &Lanes<F, T, T, T, T>::run;
}
template <class F, class T>
constexpr size_t operands_of() {
    return std::is_invocable_v<F, T> ? 2 : std::is_invocable_v<F, T, T> ? 3 : 4;
}

template <class F, class T>
void in_roundings(Table& t, const std::string& name, const std::string& rest, bool plain) {
    constexpr Handler run = handler_of<F, T>();
    const std::vector<uint32_t> bytes(operands_of<F, T>(), kBytes<T>);
    if (plain) t.add(name + rest, run, bytes);
    t.add(name + ".rn" + rest, run, bytes);
    t.add(name + ".rz" + rest, &in_rounding<run, FE_TOWARDZERO>, bytes);
    t.add(name + ".rm" + rest, &in_rounding<run, FE_DOWNWARD>, bytes);
    t.add(name + ".rp" + rest, &in_rounding<run, FE_UPWARD>, bytes);
}

// NAME{.rnd}{.ftz}{.sat}.f32 and NAME{.rnd}.f64. `plain`: without a rounding it is .rn.
template <class F>
void arithmetic(Table& t, const std::string& name, F, bool plain) {
    using C = Canonical<F>;
    in_roundings<C, float>(t, name, ".f32", plain);
    in_roundings<Flush<C>, float>(t, name, ".ftz.f32", plain);
    in_roundings<Saturate<C>, float>(t, name, ".sat.f32", plain);
    in_roundings<Saturate<Flush<C>>, float>(t, name, ".ftz.sat.f32", plain);
    in_roundings<C, double>(t, name, ".f64", plain);
}

// NAME{.ftz}.f32
template <class F>
void single(Table& t, const std::string& name, F) {
    const std::vector<uint32_t> bytes(operands_of<F, float>(), 4);
    t.add(name + ".f32", handler_of<Canonical<F>, float>(), bytes);
    t.add(name + ".ftz.f32", handler_of<Flush<Canonical<F>>, float>(), bytes);
}

// A number beats a NaN, and +0 is above -0.
auto least = [](auto a, auto b) {
    return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
};
auto most = [](auto a, auto b) { return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? b : a) : a > b ? a : b; };
auto least_or_nan = [](auto a, auto b) { return a != a ? a : b != b ? b : decltype(least){}(a, b); };
auto most_or_nan = [](auto a, auto b) { return a != a ? a : b != b ? b : decltype(most){}(a, b); };

// The sign of the product on the extreme of the magnitudes.
template <class F>
struct XorSign {
    float operator()(float a, float b) const {
        const float r = F{}(std::fabs(a), std::fabs(b));
        return std::signbit(a) != std::signbit(b) ? -std::fabs(r) : std::fabs(r);
    }
};

template <class F>
void extreme(Table& t, const std::string& name, F f) {
    single(t, name, f);
    t.lanes<double>(name, f);
}
template <class F, class N>
void extremes(Table& t, const std::string& name, F f, N or_nan) {
    extreme(t, name, f);
    single(t, name + ".NaN", or_nan);
    t.typed<float, float, float>(name + ".xorsign.abs.f32", XorSign<F>{});
    t.typed<float, float, float>(name + ".NaN.xorsign.abs.f32", XorSign<N>{});
}

// The upper half of the reciprocal or of the reciprocal root: 20 bits of fraction, and a lower half of zeros.
template <class F>
struct UpperHalf {
    double operator()(double a) const {
        constexpr double kLeast = std::numeric_limits<double>::min();
        const double x = std::fabs(a) < kLeast ? std::copysign(0.0, a) : a, r = F{}(x);
        if (r != r) return bits_as<double>(U64(0x7fffffff00000000));
        return std::fabs(r) < kLeast ? std::copysign(0.0, r) : bits_as<double>(bits_as<U64>(r) & 0xffffffff00000000);
    }
};

template <class T>
void test_property(Builder& b) {
    static constexpr Handler handlers[] = {
        &Compare<decltype([](T a) { return bool(std::isfinite(a)); }), T>::run,
        &Compare<decltype([](T a) { return bool(std::isinf(a)); }), T>::run,
        &Compare<decltype([](T a) { return !std::isnan(a); }), T>::run,
        &Compare<decltype([](T a) { return bool(std::isnan(a)); }), T>::run,
        &Compare<decltype([](T a) { return bool(std::isnormal(a)); }), T>::run,
        &Compare<decltype([](T a) { return a != 0 && std::fabs(a) < std::numeric_limits<T>::min(); }), T>::run};
    const int which = b.one_of({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
    b.no_more_modifiers();
    b.emit(handlers[which], {b.place(0, kPredicate), kNone, b.place(1, kBytes<T>)});
}

}  // namespace

void add_floating_point(Table& t) {
    t.section("9.7.3.1");
    t.family("testp", [](Builder& b) { b.type() == "f32" ? test_property<float>(b) : test_property<double>(b); });
    t.section("9.7.3.2");  // the sign of a on the size of b
    t.lanes<float, double>("copysign", [](auto a, auto b) { return std::copysign(b, a); });

    t.section("9.7.3.3");
    arithmetic(t, "add", [](auto a, auto b) { return a + b; }, true);
    t.section("9.7.3.4");
    arithmetic(t, "sub", [](auto a, auto b) { return a - b; }, true);
    t.section("9.7.3.5");
    arithmetic(t, "mul", [](auto a, auto b) { return a * b; }, true);
    t.section("9.7.3.6");
    arithmetic(t, "fma", [](auto a, auto b, auto c) { return std::fma(a, b, c); }, false);
    t.section("9.7.3.7");  // since sm_20 the same as fma
    arithmetic(t, "mad", [](auto a, auto b, auto c) { return std::fma(a, b, c); }, false);
    t.section("9.7.3.8");
    arithmetic(t, "div", [](auto a, auto b) { return a / b; }, false);
    single(t, "div.approx", [](float a, float b) { return a / b; });
    single(t, "div.full", [](float a, float b) { return a / b; });

    t.section("9.7.3.9");
    extreme(t, "abs", [](auto a) { return std::fabs(a); });
    t.section("9.7.3.10");
    extreme(t, "neg", [](auto a) { return -a; });
    t.section("9.7.3.11");
    extremes(t, "min", least, least_or_nan);
    t.section("9.7.3.12");
    extremes(t, "max", most, most_or_nan);

    t.section("9.7.3.13");
    arithmetic(t, "rcp", [](auto a) { return decltype(a)(1) / a; }, false);
    single(t, "rcp.approx", [](float a) { return 1 / a; });
    t.section("9.7.3.14");
    t.typed<double, double>("rcp.approx.ftz.f64", UpperHalf<decltype([](double a) { return 1 / a; })>{});
    t.section("9.7.3.15");
    arithmetic(t, "sqrt", [](auto a) { return std::sqrt(a); }, false);
    single(t, "sqrt.approx", [](float a) { return std::sqrt(a); });
    t.section("9.7.3.16");
    single(t, "rsqrt.approx", [](float a) { return static_cast<float>(1 / std::sqrt(static_cast<double>(a))); });
    t.typed<double, double>("rsqrt.approx.f64", [](double a) { return 1 / std::sqrt(a); });
    t.section("9.7.3.17");
    t.typed<double, double>("rsqrt.approx.ftz.f64", UpperHalf<decltype([](double a) { return 1 / std::sqrt(a); })>{});

    t.section("9.7.3.18");
    single(t, "sin.approx", [](float a) { return static_cast<float>(std::sin(static_cast<double>(a))); });
    t.section("9.7.3.19");
    single(t, "cos.approx", [](float a) { return static_cast<float>(std::cos(static_cast<double>(a))); });
    t.section("9.7.3.20");
    single(t, "lg2.approx", [](float a) { return static_cast<float>(std::log2(static_cast<double>(a))); });
    t.section("9.7.3.21");
    single(t, "ex2.approx", [](float a) { return static_cast<float>(std::exp2(static_cast<double>(a))); });
    t.section("9.7.3.22");
    t.typed<float, float>("tanh.approx.f32",
                          [](float a) { return canonical(static_cast<float>(std::tanh(static_cast<double>(a)))); });
}

}  // namespace convgpu::ptx
