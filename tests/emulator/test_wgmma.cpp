// wgmma with every layout of its operands, and the arithmetic of the tensor cores in plain examples.
#include "checks_wgmma.h"

using namespace checks;

namespace {

using bf16 = __nv_bfloat16;

// The next float32 above 1 is 1 + 2^-23.
constexpr float kUlp = 1.0f / (1 << 23);

}  // namespace

TEST(wgmma_k_major) {
    check_layout<bf16, 64, false, false, Swizzle::kNone>();
    check_layout<bf16, 64, false, false, Swizzle::k32B>();
    check_layout<__half, 64, false, false, Swizzle::k64B>();
    check_layout<bf16, 64, false, false, Swizzle::k128B>();
}
TEST(wgmma_mn_major) {
    check_layout<bf16, 64, true, true, Swizzle::kNone>();
    check_layout<bf16, 64, true, true, Swizzle::k32B>();
    check_layout<__half, 64, true, true, Swizzle::k64B>();
    check_layout<bf16, 64, true, true, Swizzle::k128B>();
}
TEST(wgmma_mixed_major) {
    check_layout<bf16, 64, true, false, Swizzle::k128B>();
    check_layout<bf16, 64, false, true, Swizzle::k64B>();
}
TEST(wgmma_tf32) {
    check_layout<Tf32, 64, false, false, Swizzle::kNone>();
    check_layout<Tf32, 64, false, false, Swizzle::k32B>();
    check_layout<Tf32, 64, false, false, Swizzle::k64B>();
    check_layout<Tf32, 64, false, false, Swizzle::k128B>();
}
TEST(wgmma_a_in_registers) {
    check_layout<bf16, 64, false, false, Swizzle::kNone, true>();
    check_layout<__half, 64, false, true, Swizzle::kNone, true>();
    check_layout<Tf32, 64, false, false, Swizzle::kNone, true>();
}
TEST(wgmma_packed) {
    check_packed<bf16, 64>(160);
    check_packed<__half, 128>(96);
    check_packed<bf16, 128>(32);
}
TEST(wgmma_widths) {
    check_layout<bf16, 8, false, false, Swizzle::k128B>();
    check_layout<bf16, 16, false, false, Swizzle::k64B>();
    check_layout<bf16, 32, false, true, Swizzle::k32B>();
    check_layout<bf16, 96, false, false, Swizzle::k128B>();
    check_layout<bf16, 128, false, true, Swizzle::k128B>();
    check_layout<bf16, 192, false, false, Swizzle::k128B>();
    check_layout<bf16, 256, false, true, Swizzle::k64B>();
    check_layout<bf16, 256, false, true, Swizzle::k128B>();
}

// ---- Arithmetic: what a chain of fused multiply-adds would not give
// --------------------------------------------------
using emulator::tensor_core_dot;

TEST(dot_truncates_toward_zero) {
    const float one = 1, tiny = 0.75f * kUlp;  // rounding to nearest would give 1 + 1 ulp
    testing::expect_equal(tensor_core_dot(&one, &tiny, 1, 1, 1.0f), 1.0f, "1 + 0.75 ulp");
    testing::expect_equal(tensor_core_dot(&one, &tiny, 1, 1, -1.0f), -(1.0f - kUlp), "-1 + 0.75 ulp, truncated");
}
TEST(dot_has_two_guard_bits) {
    const float ones[4] = {1, 1, 1, 1}, quarters[4] = {0.25f * kUlp, 0.25f * kUlp, 0.25f * kUlp, 0.25f * kUlp};
    const float eighths[4] = {0.124f * kUlp, 0.124f * kUlp, 0.124f * kUlp, 0.124f * kUlp};
    testing::expect_equal(tensor_core_dot(ones, quarters, 1, 4, 1.0f), 1.0f + kUlp, "four quarters of an ulp are kept");
    testing::expect_equal(tensor_core_dot(ones, eighths, 1, 4, 1.0f), 1.0f, "what lies below is lost term by term");
}
TEST(dot_does_not_depend_on_order) {
    const float a[3] = {1e30f, 1, -1e30f}, b[3] = {1, 1, 1}, c[3] = {1, 1e30f, -1e30f};
    testing::expect_equal(tensor_core_dot(a, b, 1, 3, 0.0f), tensor_core_dot(c, b, 1, 3, 0.0f), "permuted terms");
}
TEST(dot_of_special_values) {
    const float inf = INFINITY, one = 1, zero = 0, big = 3e38f, two = 2;
    testing::expect(std::isnan(tensor_core_dot(&inf, &zero, 1, 1, 0.0f)), "infinity times zero");
    testing::expect(std::isnan(tensor_core_dot(&inf, &one, 1, 1, -inf)), "infinity minus infinity");
    testing::expect_equal(tensor_core_dot(&inf, &one, 1, 1, 1.0f), inf, "infinity");
    testing::expect_equal(tensor_core_dot(&big, &two, 1, 1, 0.0f), inf, "overflow");
    testing::expect(!std::signbit(tensor_core_dot(&zero, &one, 1, 1, -0.0f)), "a sum of zero is +0");
    testing::expect_equal(tensor_core_dot(&zero, &one, 1, 1, 1e-40f), 1e-40f, "subnormal sums are kept");
}

// The vectorised path must agree with the plain function on everything, bit for bit.
TEST(fast_path_is_the_plain_one) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto value = [&](float scale, int spread) {
        if (random() % 9 == 0) return random() % 2 ? 0.0f : -0.0f;
        return emulator::from_bfloat16(static_cast<uint16_t>(
            __float_as_uint(std::ldexp(normal(random) * scale, static_cast<int>(random() % (spread + 1)))) >> 16));
    };
    const float scales[] = {1, 1e-20f, 1e15f, 1e-35f};
    for (int round = 0; round < 120; ++round) {
        emulator::Factor a, b;
        const int k = round % 3 ? 16 : 8;
        a.resize(16, k);
        b.resize(k, 24);
        for (int i = 0; i < 16 * k; ++i) a.value[i] = value(scales[round % 4], round % 40);
        for (float& v : b.value) v = value(1, round % 30);
        if (round % 10 == 7) a.value[5] = round % 20 == 7 ? 1e-39f : INFINITY;
        a.classify();
        b.classify();
        std::vector<float> c(16 * 24);
        const float rare[] = {INFINITY, 1e-40f, 3e38f, NAN, -0.0f};
        for (float& v : c) v = random() % 12 ? value(scales[round % 4], 60) : rare[random() % 5];
        auto got = c;
        emulator::tensor_core_mma(a, b, got.data(), 24);
        for (int i = 0; i < 16 * 24; ++i) {
            const float expected = tensor_core_dot(&a.value[i / 24 * k], &b.value[i % 24], 24, k, c[i]);
            testing::expect_equal(__float_as_uint(got[i]), __float_as_uint(expected), "round " + std::to_string(round));
        }
    }
}

TEST(float16_bits) {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        __half_raw raw;
        raw.x = static_cast<unsigned short>(bits);
        const float expected = __half2float(__half(raw)), got = emulator::from_float16(static_cast<uint16_t>(bits));
        if (!std::isnan(expected)) testing::expect_equal(got, expected, "float16 " + std::to_string(bits));
    }
}

TEST(mma_and_wgmma_agree) {
    check_dots<bf16>(spread<bf16>(100, 4));
    check_dots<__half>(spread<__half>(100, 4));
    check_dots<Tf32>(spread<Tf32>(100, 4));
}
