// Asks a Hopper GPU whether it computes what the emulator does: layouts, descriptors, edges, and arithmetic bit by bit.
// docs/emulator.md tells how to build and run it. Prints one line per question, "agrees" or "differs", and fails if any
// differs. Built with the emulator instead of nvcc it asks the emulator, which must agree with itself.
#include <cstdio>

#include "../tests/emulator/checks_tma.h"
#include "../tests/emulator/checks_wgmma.h"

namespace {

using namespace checks;
using bf16 = __nv_bfloat16;

int differences = 0;

// `hint` is called when the answer differs, and says what would have agreed instead.
template <class Question>
void ask(const char* name, Question&& question, std::string (*hint)() = nullptr) {
    try {
        question();
        std::printf("agrees   %s\n", name);
    } catch (const std::exception& e) {
        ++differences;
        std::printf("differs  %s: %s%s\n", name, e.what(), hint ? hint().c_str() : "");
    }
    std::fflush(stdout);
}

// ---- Arithmetic
// ------------------------------------------------------------------------------------------------------
template <class T>
void ask_dots(const char* format, int range) {
    const auto dots = spread<T>(4096, range);
    const int cases = static_cast<int>(dots.c.size());
    const auto mma = run_dots(dots, false), wgmma = run_dots(dots, true);
    const std::string name = format;
    for (const auto& [instruction, got] : {std::pair("mma.sync ", &mma), std::pair("wgmma ", &wgmma)}) {
        std::string blocks;
        for (int block = 4; block <= kProducts<T>; block *= 2) {
            blocks += ", blocks of " + std::to_string(block) + " give " + std::to_string(agreeing(dots, *got, block));
        }
        const auto question = [&, results = got] {
            testing::expect_equal(agreeing(dots, *results, kProducts<T>), cases,
                                  "equal results" + blocks + "; one block");
        };
        ask((instruction + name + ": one block").c_str(), question);
    }
    ask(("wgmma " + name + ": adds as mma.sync").c_str(), [&] {
        for (int i = 0; i < cases; ++i)
            testing::expect_equal(bits_of(wgmma[i]), bits_of(mma[i]), "case " + std::to_string(i));
    });
}

template <class T>
void ask_one(const char* name, const std::vector<float>& x, const std::vector<float>& y, float z) {
    Dots<T> dots;
    dots.add(x, y, z);
    const float expected = dots.model(0, kProducts<T>);
    for (const bool by_wgmma : {false, true}) {
        ask((std::string(by_wgmma ? "wgmma: " : "mma.sync: ") + name).c_str(), [&] {
            const uint32_t got = bits_of(run_dots(dots, by_wgmma)[0]);
            std::ostringstream text;
            text << "bits " << std::hex << got << ", the model says " << bits_of(expected);
            testing::expect(got == bits_of(expected), text.str());
        });
    }
}

void ask_special_values() {
    const float inf = INFINITY, f16_subnormal = std::ldexp(3.0f, -24), bf16_subnormal = std::ldexp(3.0f, -133);
    ask_one<__half>("subnormal fp16 factor", {f16_subnormal, 1}, {3.0f, std::ldexp(1.0f, -14)}, 0);
    ask_one<__half>("subnormal fp16 factor counts with its own exponent", {f16_subnormal, 1}, {1.0f, 0},
                    std::ldexp(1.99999988f, 2));
    ask_one<bf16>("subnormal bf16 factor", {bf16_subnormal}, {std::ldexp(1.0f, 20)}, 0);
    ask_one<bf16>("subnormal sum", {std::ldexp(1.0f, -70)}, {std::ldexp(1.5f, -70)}, 0);
    ask_one<bf16>("subnormal accumulator", {0}, {0}, 1e-40f);
    ask_one<bf16>("overflow", {std::ldexp(1.0f, 127)}, {2}, 0);
    ask_one<bf16>("overflow of a sum", {std::ldexp(1.0f, 127), std::ldexp(1.0f, 127)}, {1, 1}, 0);
    ask_one<bf16>("infinity", {inf}, {1}, 1);
    ask_one<bf16>("infinity minus infinity", {inf}, {1}, -inf);
    ask_one<bf16>("infinity times zero", {inf}, {0}, 1);
    ask_one<bf16>("NaN accumulator", {1}, {1}, NAN);
    ask_one<bf16>("negative zero", {-0.0f}, {1}, -0.0f);
    ask_one<bf16>("cancellation to zero", {1, -1}, {1, 1}, -0.0f);
    ask_one<Tf32>("low bits of tf32", {1}, {1}, std::ldexp(1.0f, -30));
}

// A long sum is a chain of blocks, whichever way A comes.
template <class T>
void ask_chain(const char* name) {
    using G = WgmmaTile<T, 64, false, false, Swizzle::kNone>;
    const auto A = testing::random_values<Stored<T>>(G::kM * G::kK, 5),
               B = testing::random_values<Stored<T>>(64 * G::kK, 6);
    const auto expected = [&](int m, int n) {
        float sum = 0;
        for (int k0 = 0; k0 < G::kK; k0 += kProducts<T>) {
            float x[kProducts<T>], y[kProducts<T>];
            for (int k = 0; k < kProducts<T>; ++k) {
                x[k] = to_float<T>(to_bits<T>(float(A[m * G::kK + k0 + k])));
                y[k] = to_float<T>(to_bits<T>(float(B[n * G::kK + k0 + k])));
            }
            sum = tensor_core_dot(x, y, 1, kProducts<T>, sum);
        }
        return sum;
    };
    const auto check = [&](const std::vector<float>& D) {
        for (int i = 0; i < G::kM * 64; ++i) {
            testing::expect_equal(bits_of(D[i]), bits_of(expected(i / 64, i % 64)), "D[" + std::to_string(i) + "]");
        }
    };
    ask((std::string("wgmma chain of blocks, A in shared memory, ") + name).c_str(),
        [&] { check(multiply<T, 64, false, false, Swizzle::kNone, false>(A, B)); });
    ask((std::string("wgmma chain of blocks, A in registers, ") + name).c_str(),
        [&] { check(multiply<T, 64, false, false, Swizzle::kNone, true>(A, B)); });
}

// ---- Layouts
// ---------------------------------------------------------------------------------------------------------
template <class T, bool AMnMajor, bool BMnMajor, Swizzle S>
void ask_layout(const char* name) {
    ask(name, check_layout<T, 64, AMnMajor, BMnMajor, S>, []() -> std::string {
        try {
            check_layout<T, 64, AMnMajor, BMnMajor, S, false, true>();
            return "; with leading and stride exchanged it is right";
        } catch (const std::exception&) {
            return "; with leading and stride exchanged it is wrong too";
        }
    });
}

void ask_operand_layouts() {
    ask_layout<bf16, false, false, Swizzle::kNone>("wgmma K-major, no swizzle");
    ask_layout<bf16, false, false, Swizzle::k32B>("wgmma K-major, 32-byte swizzle");
    ask_layout<bf16, false, false, Swizzle::k64B>("wgmma K-major, 64-byte swizzle");
    ask_layout<bf16, false, false, Swizzle::k128B>("wgmma K-major, 128-byte swizzle");
    ask_layout<bf16, true, false, Swizzle::kNone>("wgmma A M-major, no swizzle");
    ask_layout<bf16, true, false, Swizzle::k32B>("wgmma A M-major, 32-byte swizzle");
    ask_layout<bf16, false, true, Swizzle::kNone>("wgmma B N-major, no swizzle");
    ask_layout<bf16, false, true, Swizzle::k32B>("wgmma B N-major, 32-byte swizzle");
    ask_layout<bf16, false, true, Swizzle::k64B>("wgmma B N-major, 64-byte swizzle");
    ask_layout<bf16, true, true, Swizzle::k128B>("wgmma both MN-major, 128-byte swizzle");
    ask_layout<Tf32, false, false, Swizzle::kNone>("wgmma tf32, no swizzle");
    ask_layout<Tf32, false, false, Swizzle::k128B>("wgmma tf32, 128-byte swizzle");
    ask("wgmma bf16, A in registers", check_layout<bf16, 64, false, false, Swizzle::kNone, true>);
    ask("wgmma tf32, A in registers", check_layout<Tf32, 64, false, false, Swizzle::kNone, true>);
}

void ask_tma() {
    const Image rows({40, 20, 1, 1, 1}), volume({32, 5, 6, 4, 2});
    ask("TMA tile, 32-byte swizzle", [&] { check_tiled<2>(rows, {8, 24}, kOnes, Swizzle::k32B, {{-3, 2}}); });
    ask("TMA tile, 64-byte swizzle", [&] { check_tiled<2>(rows, {16, 24}, kOnes, Swizzle::k64B, {{30, -5}}); });
    ask("TMA tile, 128-byte swizzle", [&] { check_tiled<2>(rows, {32, 24}, kOnes, Swizzle::k128B, {{20, 3}}); });
    ask("TMA tile, 5-D", [&] { check_tiled<5>(volume, {32, 3, 2, 2, 2}, kOnes, Swizzle::k128B, {{0, 3, -1, 2, 1}}); });
    ask("TMA tile, steps", [&] { check_tiled<3>(volume, {32, 4, 4}, {1, 2, 3, 1, 1}, Swizzle::k128B, {{0, -2, 1}}); });
    const Image line({32, 29, 1, 1, 3}), plane({32, 7, 9, 1, 3});
    ask("TMA im2col 1-D", [&] { check_all_taps<1>(line, {4, 1, 1}, 3, 2, 2, Swizzle::k128B); });
    ask("TMA im2col 2-D", [&] { check_all_taps<2>(plane, {3, 2, 1}, 1, 1, 1, Swizzle::k128B); });
    ask("TMA im2col 2-D, stride 2", [&] { check_all_taps<2>(plane, {3, 2, 1}, 2, 1, 1, Swizzle::k64B); });
    ask("TMA im2col 2-D, dilation 2", [&] { check_all_taps<2>(plane, {2, 3, 1}, 1, 2, 2, Swizzle::k32B); });
    ask("TMA im2col 3-D", [&] { check_all_taps<3>(volume, {3, 2, 3}, 1, 1, 1, Swizzle::k128B); });
    ask("TMA store, edges", [&] { check_store<2>({40, 20, 1, 1, 1}, {32, 16}, Swizzle::k128B, {{4, -3}}); });
    ask("TMA store, 64-byte swizzle", [&] { check_store<2>({40, 20, 1, 1, 1}, {16, 16}, Swizzle::k64B, {{-4, 2}}); });
    ask("TMA store, 5-D",
        [&] { check_store<5>({16, 3, 4, 3, 2}, {16, 2, 2, 2, 2}, Swizzle::kNone, {{4, 1, 1, 2, 1}}); });
}

}  // namespace

int main() {
    ask_dots<bf16>("bf16", 6);
    ask_dots<__half>("fp16", 5);
    ask_dots<Tf32>("tf32", 6);
    ask_chain<bf16>("bf16");
    ask_chain<Tf32>("tf32");
    ask_special_values();
    ask_operand_layouts();
    ask_tma();
    std::printf("%d differ\n", differences);
    return differences > 0;
}
