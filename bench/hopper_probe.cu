// Asks a Hopper GPU whether it computes what the emulator does: layouts, descriptors, edges, clusters, and arithmetic
// bit by bit. docs/emulator.md tells how to build and run it.
//
//     hopper_probe --list     names the questions, one a line, the easiest first and those last that may hang
//     hopper_probe NAME...    asks these; none: all
//
// Each answer is a line, "agrees NAME" or "differs NAME: what", and the exit status is 1 if any differs. A question
// that hangs, or a fault, spoils what the same process asks later: a process each, with a time limit, loses one at
// most. Built with the emulator instead of nvcc it asks the emulator, which must agree with itself.
#include <algorithm>
#include <cstdio>
#include <functional>

#include "../tests/emulator/checks_cluster.h"
#include "../tests/emulator/checks_gemm.h"
#include "../tests/emulator/checks_tma.h"
#include "../tests/emulator/checks_wgmma.h"

namespace {

using namespace checks;
using bf16 = __nv_bfloat16;
using testing::Image;

struct Question {
    std::string name;
    std::function<void()> ask;  // throws where the answer differs, and says how
};

// ---- Arithmetic
// ------------------------------------------------------------------------------------------------------
// Products of one block of the tensor cores; where blocks are smaller, says which size explains the results.
template <class T>
void ask_dots(bool by_wgmma) {
    const auto dots = spread<T>(4096, std::is_same_v<T, __half> ? 5 : 6);
    const auto got = run_dots(dots, by_wgmma);
    std::string blocks;
    for (int block = 4; block <= kProducts<T>; block *= 2) {
        blocks += ", blocks of " + std::to_string(block) + " give " + std::to_string(agreeing(dots, got, block));
    }
    testing::expect_equal(agreeing(dots, got, kProducts<T>), static_cast<int>(dots.c.size()),
                          "equal results" + blocks + "; one block");
}

template <class T>
void ask_whether_wgmma_is_mma() {
    const auto dots = spread<T>(4096, 6);
    const auto mma = run_dots(dots, false), wgmma = run_dots(dots, true);
    for (size_t i = 0; i < mma.size(); ++i) {
        testing::expect(!std::isnan(mma[i]), "mma.sync gives NaN in case " + std::to_string(i));
        testing::expect_equal(bits_of(wgmma[i]), bits_of(mma[i]), "case " + std::to_string(i));
    }
}

// One sum by itself; what differs is added to `differences`.
template <class T>
void note_one(std::string& differences, bool by_wgmma, const char* name, const std::vector<float>& x,
              const std::vector<float>& y, float z) {
    Dots<T> dots;
    dots.add(x, y, z);
    const uint32_t expected = bits_of(dots.model(0, kProducts<T>)), got = bits_of(run_dots(dots, by_wgmma)[0]);
    if (got == expected) return;
    std::ostringstream text;
    text << (differences.empty() ? "" : "; ") << name << " gives bits " << std::hex << got << ", the model says "
         << expected;
    differences += text.str();
}

void ask_overflow(bool by_wgmma) {
    std::string differences;
    note_one<bf16>(differences, by_wgmma, "overflow", {std::ldexp(1.0f, 127)}, {2}, 0);
    note_one<bf16>(differences, by_wgmma, "overflow of a sum", {std::ldexp(1.0f, 127), std::ldexp(1.0f, 127)}, {1, 1},
                   0);
    note_one<bf16>(differences, by_wgmma, "negative overflow", {std::ldexp(-1.0f, 127)}, {2}, 0);
    note_one<__half>(differences, by_wgmma, "largest fp16 squared", {65504}, {65504}, 3e38f);
    testing::expect(differences.empty(), differences);
}

void ask_special_values(bool by_wgmma) {
    const float inf = INFINITY, f16_subnormal = std::ldexp(3.0f, -24), bf16_subnormal = std::ldexp(3.0f, -133);
    std::string differences;
    const auto half = [&](const char* name, const std::vector<float>& x, const std::vector<float>& y, float z) {
        note_one<__half>(differences, by_wgmma, name, x, y, z);
    };
    const auto bfloat = [&](const char* name, const std::vector<float>& x, const std::vector<float>& y, float z) {
        note_one<bf16>(differences, by_wgmma, name, x, y, z);
    };
    half("subnormal fp16 factor", {f16_subnormal, 1}, {3.0f, std::ldexp(1.0f, -14)}, 0);
    half("exponent of a subnormal fp16 factor", {f16_subnormal, 1}, {1.0f, 0}, std::ldexp(1.99999988f, 2));
    bfloat("subnormal bf16 factor", {bf16_subnormal}, {std::ldexp(1.0f, 20)}, 0);
    bfloat("subnormal sum", {std::ldexp(1.0f, -70)}, {std::ldexp(1.5f, -70)}, 0);
    bfloat("subnormal accumulator", {0}, {0}, 1e-40f);
    bfloat("infinity", {inf}, {1}, 1);
    bfloat("infinity minus infinity", {inf}, {1}, -inf);
    bfloat("infinity times zero", {inf}, {0}, 1);
    bfloat("NaN accumulator", {1}, {1}, NAN);
    bfloat("negative zero", {-0.0f}, {1}, -0.0f);
    bfloat("cancellation to zero", {1, -1}, {1, 1}, -0.0f);
    note_one<Tf32>(differences, by_wgmma, "low bits of tf32", {1}, {1}, std::ldexp(1.0f, -30));
    testing::expect(differences.empty(), differences);
}

// A long sum is a chain of blocks, whichever way A comes.
template <class T, bool ARegisters>
void ask_chain() {
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
    const auto D = multiply<T, 64, false, false, Swizzle::kNone, ARegisters>(A, B);
    for (int i = 0; i < G::kM * 64; ++i) {
        testing::expect_equal(bits_of(D[i]), bits_of(expected(i / 64, i % 64)), "D[" + std::to_string(i) + "]");
    }
}

// ---- Layouts
// ---------------------------------------------------------------------------------------------------------
template <class T, int N, bool AMnMajor, bool BMnMajor, Swizzle S>
void ask_layout() {
    try {
        check_layout<T, N, AMnMajor, BMnMajor, S>();
    } catch (const std::exception& e) {
        try {
            check_layout<T, N, AMnMajor, BMnMajor, S, false, true>();
        } catch (const std::exception&) {
            throw std::runtime_error(std::string(e.what()) + "; with leading and stride exchanged it is wrong too");
        }
        throw std::runtime_error(std::string(e.what()) + "; with leading and stride exchanged it is right");
    }
}

// ---- The questions
// ---------------------------------------------------------------------------------------------------
using Questions = std::vector<Question>;

void add_mma(Questions& all) {
    all.push_back({"mma_bf16", [] { ask_dots<bf16>(false); }});
    all.push_back({"mma_fp16", [] { ask_dots<__half>(false); }});
    all.push_back({"mma_tf32", [] { ask_dots<Tf32>(false); }});
    all.push_back({"mma_overflow", [] { ask_overflow(false); }});
    all.push_back({"mma_special_values", [] { ask_special_values(false); }});
    all.push_back({"elect", check_elections});
}

void add_tma(Questions& all) {
    const auto rows = [] { return Image({40, 20, 1, 1, 1}); };
    const auto plane = [] { return Image({32, 7, 9, 1, 3}); };
    const auto volume = [] { return Image({32, 5, 6, 4, 2}); };
    const std::array<int, 5> size{40, 20, 1, 1, 1};
    const auto add = [&](const char* name, std::function<void()> ask) { all.push_back({name, std::move(ask)}); };
    add("tma_tile_32b_swizzle", [=] { check_tiled<2>(rows(), {8, 24}, kOnes, Swizzle::k32B, {{-3, 2}}); });
    add("tma_tile_64b_swizzle", [=] { check_tiled<2>(rows(), {16, 24}, kOnes, Swizzle::k64B, {{30, -5}}); });
    add("tma_tile_128b_swizzle", [=] { check_tiled<2>(rows(), {32, 24}, kOnes, Swizzle::k128B, {{20, 3}}); });
    add("tma_tile_5d", [=] { check_tiled<5>(volume(), {32, 3, 2, 2, 2}, kOnes, Swizzle::k128B, {{0, 3, -1, 2, 1}}); });
    add("tma_tile_steps", [=] { check_tiled<3>(volume(), {32, 4, 4}, {1, 2, 3, 1, 1}, Swizzle::k128B, {{0, -2, 1}}); });
    add("tma_store_128b_swizzle", [=] { check_store<2>(size, {32, 16}, Swizzle::k128B, {{4, -3}}); });
    add("tma_store_64b_swizzle", [=] { check_store<2>(size, {16, 16}, Swizzle::k64B, {{-4, 2}}); });
    add("tma_store_4d_64b_swizzle",
        [] { check_store<4>({16, 5, 4, 3, 1}, {16, 2, 2, 2}, Swizzle::k64B, {{0, 1, 3, -1}}); });
    add("tma_store_5d", [] { check_store<5>({16, 3, 4, 3, 2}, {16, 2, 2, 2, 2}, Swizzle::kNone, {{4, 1, 1, 2, 1}}); });
    add("tma_im2col_3d", [] { check_all_taps<1>(Image({32, 29, 1, 1, 3}), {4, 1, 1}, 3, 2, 2, Swizzle::k128B); });
    add("tma_im2col_4d", [=] { check_all_taps<2>(plane(), {3, 2, 1}, 1, 1, 1, Swizzle::k128B); });
    add("tma_im2col_4d_stride_2", [=] { check_all_taps<2>(plane(), {3, 2, 1}, 2, 1, 1, Swizzle::k128B); });
    add("tma_im2col_4d_strides_3_5_8", [] {
        const Image wide({32, 19, 17, 1, 2});
        for (int stride : {3, 5, 8}) check_all_taps<2>(wide, {3, 2, 1}, stride, 1, 1, Swizzle::k128B, 3);
    });
    add("tma_im2col_4d_dilation_2", [=] { check_all_taps<2>(plane(), {2, 3, 1}, 1, 2, 2, Swizzle::k128B); });
    add("tma_im2col_4d_beyond_the_batch", [=] { check_all_taps<2>(plane(), {3, 3, 1}, 1, 1, 1, Swizzle::k128B, 160); });
    add("tma_im2col_4d_upper_corner_beyond_the_image",
        [=] { check_all_taps<2>(plane(), {1, 2, 1}, 1, 1, 2, Swizzle::k128B); });
    add("tma_im2col_4d_channels_40_of_64",
        [] { check_all_taps<2>(Image({20, 7, 9, 1, 3}), {3, 2, 1}, 2, 1, 1, Swizzle::k128B, 5, true); });
    add("tma_im2col_5d", [=] { check_all_taps<3>(volume(), {3, 2, 3}, 1, 1, 1, Swizzle::k128B); });
    add("tma_im2col_5d_stride_2", [=] { check_all_taps<3>(volume(), {3, 3, 2}, 2, 1, 1, Swizzle::k128B); });
}

void add_wgmma(Questions& all) {
    const auto add = [&](const char* name, std::function<void()> ask) { all.push_back({name, std::move(ask)}); };
    add("wgmma_k_major", ask_layout<bf16, 64, false, false, Swizzle::kNone>);
    add("wgmma_k_major_32b_swizzle", ask_layout<bf16, 64, false, false, Swizzle::k32B>);
    add("wgmma_k_major_64b_swizzle", ask_layout<bf16, 64, false, false, Swizzle::k64B>);
    add("wgmma_k_major_128b_swizzle", ask_layout<bf16, 64, false, false, Swizzle::k128B>);
    add("wgmma_m_major", ask_layout<bf16, 64, true, false, Swizzle::kNone>);
    add("wgmma_m_major_32b_swizzle", ask_layout<bf16, 64, true, false, Swizzle::k32B>);
    add("wgmma_n_major", ask_layout<bf16, 64, false, true, Swizzle::kNone>);
    add("wgmma_n_major_32b_swizzle", ask_layout<bf16, 64, false, true, Swizzle::k32B>);
    add("wgmma_n_major_64b_swizzle", ask_layout<bf16, 64, false, true, Swizzle::k64B>);
    add("wgmma_mn_major_128b_swizzle", ask_layout<bf16, 64, true, true, Swizzle::k128B>);
    add("wgmma_n_major_128b_swizzle_256_columns", ask_layout<bf16, 256, false, true, Swizzle::k128B>);
    add("wgmma_mn_major_128b_swizzle_256_columns", ask_layout<bf16, 256, true, true, Swizzle::k128B>);
    add("wgmma_tf32_layout", ask_layout<Tf32, 64, false, false, Swizzle::kNone>);
    add("wgmma_tf32_layout_128b_swizzle", ask_layout<Tf32, 64, false, false, Swizzle::k128B>);
    add("wgmma_a_in_registers", check_layout<bf16, 64, false, false, Swizzle::kNone, true>);
    add("wgmma_tf32_a_in_registers", check_layout<Tf32, 64, false, false, Swizzle::kNone, true>);
    add("wgmma_packed_leading_of_depth_96", [] { check_packed<bf16, 128>(96); });
    add("wgmma_packed_leading_of_depth_160", [] { check_packed<__half, 128>(160); });
    add("wgmma_bf16", [] { ask_dots<bf16>(true); });
    add("wgmma_fp16", [] { ask_dots<__half>(true); });
    add("wgmma_tf32", [] { ask_dots<Tf32>(true); });
    add("wgmma_bf16_is_mma", ask_whether_wgmma_is_mma<bf16>);
    add("wgmma_tf32_is_mma", ask_whether_wgmma_is_mma<Tf32>);
    add("wgmma_overflow", [] { ask_overflow(true); });
    add("wgmma_special_values", [] { ask_special_values(true); });
    add("wgmma_chain", ask_chain<bf16, false>);
    add("wgmma_chain_a_in_registers", ask_chain<bf16, true>);
    add("wgmma_tf32_chain", ask_chain<Tf32, false>);
    add("wgmma_tf32_chain_a_in_registers", ask_chain<Tf32, true>);
}

// What waits for another block, or for registers, and hangs where it waits in vain.
void add_what_may_hang(Questions& all) {
    all.push_back({"setmaxnreg", check_register_shares});
    all.push_back({"cluster_memory", check_cluster_memory});
    all.push_back({"cluster_multicast", check_multicast});
    all.push_back({"cluster_arrive", check_remote_arrivals});
    all.push_back({"gemm_cluster_1", [] { check_gemm_wgmma<bf16, 1>(150, 72, 456); }});
    all.push_back({"gemm_cluster_2", [] { check_gemm_wgmma<bf16, 2>(200, 72, 456); }});
}

Questions questions() {
    Questions all;
    add_mma(all);
    add_tma(all);
    add_wgmma(all);
    add_what_may_hang(all);
    return all;
}

bool agrees(const Question& question) {
    bool agreed = true;
    try {
        question.ask();
        std::printf("agrees %s\n", question.name.c_str());
    } catch (const std::exception& e) {
        agreed = false;
        std::string what = e.what();
        std::replace(what.begin(), what.end(), '\n', ' ');
        std::printf("differs %s: %s\n", question.name.c_str(), what.c_str());
    }
    std::fflush(stdout);
    return agreed;
}

}  // namespace

int main(int argc, char** argv) {
    const Questions all = questions();
    const std::vector<std::string> names(argv + 1, argv + argc);
    if (names == std::vector<std::string>{"--list"}) {
        for (const Question& question : all) std::printf("%s\n", question.name.c_str());
        return 0;
    }
    const auto has = [](const auto& where, const std::string& name) {
        return std::any_of(where.begin(), where.end(), [&](const auto& one) { return one == name; });
    };
    std::vector<std::string> known;
    for (const Question& question : all) known.push_back(question.name);
    for (const std::string& name : names) {
        if (has(known, name)) continue;
        std::fprintf(stderr, "hopper_probe: expected --list or names that it lists, got %s\n", name.c_str());
        return 2;
    }
    bool agreed = true;
    for (const Question& question : all) {
        if (names.empty() || has(names, question.name)) agreed = agrees(question) && agreed;
    }
    return agreed ? 0 : 1;
}
