// Checks of what the tensor cores compute on whichever machine runs the kernels. The tests and the Hopper probe use
// them.
#pragma once
#include "../../csrc/device/device_array.h"
#include "../../csrc/emulator/tensor_core.h"
#include "kernels/dot.cuh"
#include "kernels/packed_tile.cuh"
#include "kernels/wgmma_tile.cuh"
#include "testing.h"

namespace checks {

using namespace convgpu;
using namespace samples;
using emulator::tensor_core_dot;
using ptx::Tf32;

template <class T>
constexpr ElementType kElement = std::is_same_v<T, Tf32>     ? ElementType::kFloat32
                                 : std::is_same_v<T, __half> ? ElementType::kFloat16
                                                             : ElementType::kBFloat16;

// Returns the map of an operand, values[mn][k] if it is K-major and values[k][mn] if it is MN-major. Its boxes are as
// wide as the swizzle.
template <class T>
TensorMap operand_map(const Stored<T>* values, int mn, int k, bool mn_major, Swizzle s) {
    const int inner = mn_major ? mn : k, outer = mn_major ? k : mn;
    constexpr uint32_t size = sizeof(Stored<T>);
    TiledLayout l;
    l.tensor = {values, kElement<T>, 2, {(uint64_t)inner, (uint64_t)outer}, {0, (uint64_t)inner * size}};
    l.box = {swizzle_bytes(s) / size, (uint32_t)outer};
    l.swizzle = s;
    return encode(l);
}

// Returns D[64, N] = A * B for the given operands, computed by one kernel.
template <class T, int N, bool AMnMajor, bool BMnMajor, Swizzle S, bool ARegisters, bool Exchanged = false>
std::vector<float> multiply(const std::vector<Stored<T>>& A, const std::vector<Stored<T>>& B) {
    using G = WgmmaTile<T, N, AMnMajor, BMnMajor, S>;
    const DeviceArray<Stored<T>> a(A), b(B);
    const DeviceArray<float> d(std::vector<float>(G::kM * N, NAN));
    launch(wgmma_tile<T, N, AMnMajor, BMnMajor, S, ARegisters, Exchanged>,
           {dim3(1), dim3(128), sizeof(typename G::Smem)}, nullptr, operand_map<T>(a.data(), G::kM, G::kK, AMnMajor, S),
           operand_map<T>(b.data(), N, G::kK, BMnMajor, S), d.data());
    return d.download();
}

// Checks that the tensor cores read a layout rightly: a product of whole numbers is then exact.
template <class T, int N, bool AMnMajor, bool BMnMajor, Swizzle S, bool ARegisters = false, bool Exchanged = false>
void check_layout() {
    using G = WgmmaTile<T, N, AMnMajor, BMnMajor, S>;
    const auto A = testing::random_integers<Stored<T>>(G::kM * G::kK, 1);
    const auto B = testing::random_integers<Stored<T>>(N * G::kK, 2);
    const auto D = multiply<T, N, AMnMajor, BMnMajor, S, ARegisters, Exchanged>(A, B);
    for (int m = 0; m < G::kM; ++m) {
        for (int n = 0; n < N; ++n) {
            float sum = 0;
            for (int k = 0; k < G::kK; ++k) {
                sum +=
                    float(A[AMnMajor ? k * G::kM + m : m * G::kK + k]) * float(B[BMnMajor ? k * N + n : n * G::kK + k]);
            }
            testing::expect_equal(D[m * N + n], sum, "D[" + std::to_string(m) + "," + std::to_string(n) + "]");
        }
    }
}

// Checks a product with A in registers and B in panels. The distance of the panels depends on the depth.
template <class T, int N>
void check_packed(int depth) {
    const auto A = testing::random_integers<T>(64 * depth, 1), B = testing::random_integers<T>(depth * N, 2);
    const DeviceArray<T> a(A), b(B);
    const DeviceArray<float> d(std::vector<float>(64 * N, NAN));
    launch(packed_tile<T, N>, {dim3(1), dim3(128), static_cast<size_t>(packed_bytes(N, depth))}, nullptr, a.data(),
           b.data(), d.data(), depth);
    const auto D = d.download();
    for (int m = 0; m < 64; ++m) {
        for (int n = 0; n < N; ++n) {
            float sum = 0;
            for (int k = 0; k < depth; ++k) sum += float(A[m * depth + k]) * float(B[k * N + n]);
            testing::expect_equal(D[m * N + n], sum, "D[" + std::to_string(m) + "," + std::to_string(n) + "]");
        }
    }
}

// ---- Dot products: cases of one block each, as bits and as the numbers they mean
// -------------------------------------
template <class T>
Bits<T> to_bits(float v) {
    if constexpr (std::is_same_v<T, Tf32>) {
        uint32_t u;
        std::memcpy(&u, &v, 4);
        return u & 0xffffe000u;
    } else {
        const T half(v);
        uint16_t u;
        std::memcpy(&u, &half, 2);
        return u;
    }
}

template <class T>
float to_float(Bits<T> bits) {
    if constexpr (std::is_same_v<T, Tf32>) return emulator::from_tf32(bits);
    if constexpr (std::is_same_v<T, __half>) return emulator::from_float16(static_cast<uint16_t>(bits));
    return emulator::from_bfloat16(static_cast<uint16_t>(bits));
}

template <class T>
struct Dots {
    std::vector<Bits<T>> a, b;
    std::vector<float> c;

    void add(const std::vector<float>& x, const std::vector<float>& y, float z) {
        for (int k = 0; k < kProducts<T>; ++k) {
            a.push_back(to_bits<T>(k < static_cast<int>(x.size()) ? x[k] : 0));
            b.push_back(to_bits<T>(k < static_cast<int>(y.size()) ? y[k] : 0));
        }
        c.push_back(z);
    }
    // Returns the result of case i if the instruction adds one block of `block` products after the other.
    float model(int i, int block) const {
        float x[kProducts<T>], y[kProducts<T>], sum = c[i];
        for (int k = 0; k < kProducts<T>; ++k) {
            x[k] = to_float<T>(a[i * kProducts<T> + k]);
            y[k] = to_float<T>(b[i * kProducts<T> + k]);
        }
        for (int k = 0; k < kProducts<T>; k += block) sum = tensor_core_dot(x + k, y + k, 1, block, sum);
        return sum;
    }
};

// Returns cases whose factors have random signs and exponents within +-range, so that large and small terms meet.
template <class T>
Dots<T> spread(int cases, int range) {
    std::mt19937 random(3);
    const auto value = [&](int r) {
        const float v = static_cast<float>(random() % 4096) / 2048 - 1;
        return std::ldexp(v, static_cast<int>(random() % (2 * r + 1)) - r);
    };
    Dots<T> dots;
    for (int i = 0; i < cases; ++i) {
        std::vector<float> x(kProducts<T>), y(kProducts<T>);
        for (int k = 0; k < kProducts<T>; ++k) x[k] = value(range), y[k] = value(range);
        dots.add(x, y, value(2 * range));
    }
    return dots;
}

template <class T>
std::vector<float> run_dots(const Dots<T>& dots, bool by_wgmma) {
    const int cases = static_cast<int>(dots.c.size());
    const DeviceArray<Bits<T>> a(dots.a), b(dots.b);
    const DeviceArray<float> c(dots.c), out(std::vector<float>(cases, NAN));
    if (by_wgmma) {
        launch(dot_wgmma<T>, {dim3((cases + 63) / 64), dim3(128), sizeof(DotSmem)}, nullptr, a.data(), b.data(),
               c.data(), out.data(), cases);
    } else {
        launch(dot_mma<T>, {dim3((cases + 7) / 8), dim3(32)}, nullptr, a.data(), b.data(), c.data(), out.data(), cases);
    }
    return out.download();
}

inline uint32_t bits_of(float v) {
    uint32_t u;
    std::memcpy(&u, &v, 4);
    return u;
}

// Returns in how many cases the instruction gives, bit for bit, what blocks of `block` products give.
template <class T>
int agreeing(const Dots<T>& dots, const std::vector<float>& got, int block) {
    int n = 0;
    for (size_t i = 0; i < got.size(); ++i) n += bits_of(got[i]) == bits_of(dots.model(static_cast<int>(i), block));
    return n;
}

// Checks that both instructions give what one block gives.
template <class T>
void check_dots(const Dots<T>& dots) {
    const int cases = static_cast<int>(dots.c.size());
    testing::expect_equal(agreeing(dots, run_dots(dots, false), kProducts<T>), cases, "cases of mma.sync");
    testing::expect_equal(agreeing(dots, run_dots(dots, true), kProducts<T>), cases, "cases of wgmma");
}

}  // namespace checks
