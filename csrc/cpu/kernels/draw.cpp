// Arrays of random numbers: uniform, normal, and integers.
//
// A thread owns a part of the elements, and makes those of kBlocks blocks of words at a time: of float64 and of
// integers two words make a number, of the others one. The normal numbers are those of Box and Muller
// (csrc/random/box_muller.h). Layouts: without gaps. Half types are computed in float32 and rounded once. Order: the
// formulas are computed as in csrc/random and convgpu/backends/numpy/random.py, without fused multiply-adds, so that
// the bits are theirs with every instruction set.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include "../threads.h"
#include "lanes.h"
#include "philox.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

template <class A>
struct Draw;
template <>
struct Draw<float> {
    using Word = uint32_t;
    using Signed = int32_t;
    static constexpr int kMantissa = 23, kBias = 127, kFraction = 24, kOdd = 33, kAngle = 30;

    static CONVGPU_INLINE float odd(Word u) { return static_cast<float>(static_cast<int64_t>(u) * 2 + 1); }
};
template <>
struct Draw<double> {
    using Word = uint64_t;
    using Signed = int64_t;
    static constexpr int kMantissa = 52, kBias = 1023, kFraction = 53, kOdd = 54, kAngle = 53;

    static CONVGPU_INLINE double odd(Word u) { return static_cast<double>(static_cast<int64_t>(u >> 11) * 2 + 1); }
};
template <class A>
constexpr int kNumbers = kWords * 4 / static_cast<int>(sizeof(A));  // of kBlocks blocks

template <class A>
CONVGPU_INLINE A root(A x) {
    if constexpr (sizeof(A) == 4) return __builtin_sqrtf(x);
    if constexpr (sizeof(A) == 8) return __builtin_sqrt(x);
}
template <class A, int N>
CONVGPU_INLINE A series(A x, const double (&c)[N]) {
    A y = static_cast<A>(c[N - 1]);
#pragma GCC unroll 8
    for (int i = N - 2; i >= 0; --i) y = y * x + static_cast<A>(c[i]);
    return y;
}

// sqrt(-2 log((2 u + 1) / 2^kOdd)).
template <class A>
CONVGPU_INLINE A radius_of(typename Draw<A>::Word u) {
    using D = Draw<A>;
    constexpr double kLog[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                               2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                               1.479819860510658591e-01};
    constexpr A log2 = A(0.693359375), log2_rest = A(-2.12194440054690583e-4);
    const A x = D::odd(u);
    typename D::Word bits;
    std::memcpy(&bits, &x, sizeof bits);
    const auto exponent = static_cast<typename D::Signed>(bits >> D::kMantissa) - (D::kBias - 1);
    bits = (bits & ((typename D::Word(1) << D::kMantissa) - 1)) | typename D::Word(D::kBias - 1) << D::kMantissa;
    A fraction;
    std::memcpy(&fraction, &bits, sizeof bits);
    const bool small = fraction < A(0.70710678118654752440);
    const A f = (small ? fraction + fraction : fraction) - 1, k = static_cast<A>(exponent - small - D::kOdd);
    const A s = f / (2 + f), z = s * s, half_square = A(0.5) * f * f;
    const A rest = s * (half_square + z * series(z, kLog)) + k * log2_rest;
    return root<A>(-2 * (k * log2 - (half_square - rest - f)));
}

// The coordinates of the point at this radius and at the angle 2 pi v / 2^bits, less a quarter of pi.
template <class A>
CONVGPU_INLINE void on_circle(A radius, typename Draw<A>::Word v, A& x, A& y) {
    using D = Draw<A>;
    constexpr double kSine[] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03,  -1.98412698298579493134e-04,
                                2.75573137070700676789e-06,  -2.50507602534068634195e-08, 1.58969099521155010221e-10};
    constexpr double kCosine[] = {4.16666666666666019037e-02, -1.38888888888741095749e-03,
                                  2.48015872894767294178e-05, -2.75573143513906633035e-07,
                                  2.08757232129817482790e-09, -1.13596475577881948265e-11};
    constexpr int kBits = 8 * static_cast<int>(sizeof v), kUnused = kBits - 2 - D::kAngle;
    constexpr A unit = A(3.14159265358979323846 / static_cast<double>(int64_t(4) << D::kAngle));
    const typename D::Word quarter = v >> (kBits - 2);
    const auto place = static_cast<typename D::Signed>(v >> kUnused & ((typename D::Word(1) << D::kAngle) - 1)) -
                       (typename D::Signed(1) << (D::kAngle - 1));
    const A a = static_cast<A>(2 * place + 1) * unit, z = a * a;
    const A sine = a + a * z * series(z, kSine), cosine = 1 - A(0.5) * z + z * z * series(z, kCosine);
    const bool turned = quarter & 1;
    const A first = radius * (turned ? sine : cosine), second = radius * (turned ? cosine : sine);
    x = quarter == 1 || quarter == 2 ? -first : first;
    y = quarter >= 2 ? -second : second;
}

// Fills `size` elements: make(words, values) makes the `each` numbers of kBlocks blocks.
template <class Value, int each, class Make, class Write>
CONVGPU_INLINE void fill(int64_t size, const RandomState& state, int threads, Make make, Write write) {
    constexpr int64_t per_block = each / kBlocks;
    parallel_for(parts(size, kPart), threads, 0, [&](int64_t tile, char*) {
        const int64_t end = smaller(size, (tile + 1) * kPart);
        for (int64_t begin = tile * kPart; begin < end; begin += each) {
            alignas(64) uint32_t words[kWords];
            alignas(64) Value values[each];
            draw(state, static_cast<uint64_t>(begin / per_block), words);
            make(words, values);
            write(values, begin, static_cast<int>(smaller<int64_t>(each, end - begin)));
        }
    });
}

template <class T, class Make>
CONVGPU_INLINE void fill_floating(const DrawCall& call, Make make) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    T* const y = static_cast<T*>(call.y);
    fill<A, kNumbers<A>>(call.size, call.state, call.threads, make, [&](const A* values, int64_t begin, int n) {
        for (int i = 0; i < n; i += L) write_lanes(y + begin + i, load(values + i), smaller(L, n - i));
    });
}

}  // namespace

template <class T>
void uniform(const DrawCall& call) {
    using A = Accumulator<T>;
    using D = Draw<A>;
    const A low = static_cast<A>(call.first), span = static_cast<A>(call.second);
    fill_floating<T>(call, [&](const uint32_t* words, A* values) {
        constexpr A unit = A(1) / static_cast<A>(int64_t(1) << D::kFraction);
        constexpr int unused = 8 * static_cast<int>(sizeof(A)) - D::kFraction;
        typename D::Word from[kNumbers<A>];
        std::memcpy(from, words, sizeof from);
        for (int i = 0; i < kNumbers<A>; ++i) {
            const A u = static_cast<A>(static_cast<typename D::Signed>(from[i] >> unused)) * unit;
            values[i] = u * span + low;
        }
    });
}

template <class T>
void normal(const DrawCall& call) {
    using A = Accumulator<T>;
    using D = Draw<A>;
    const A mean = static_cast<A>(call.first), std = static_cast<A>(call.second);
    fill_floating<T>(call, [&](const uint32_t* words, A* values) {
        constexpr int pairs = kNumbers<A> / 2;
        typename D::Word from[kNumbers<A>];
        A radius[pairs], x[pairs], y[pairs];
        std::memcpy(from, words, sizeof from);
        for (int i = 0; i < pairs; ++i) radius[i] = radius_of<A>(from[2 * i]);
        for (int i = 0; i < pairs; ++i) on_circle<A>(radius[i], from[2 * i + 1], x[i], y[i]);
        for (int i = 0; i < pairs; ++i) {
            values[2 * i] = x[i] * std + mean;
            values[2 * i + 1] = y[i] * std + mean;
        }
    });
}

void integers(const IntegersCall& call) {
    const auto make = [&](const uint32_t* words, uint64_t* values) {
        std::memcpy(values, words, kWords * sizeof *words);
        for (int i = 0; i < kWords / 2; ++i) {
            const auto product = static_cast<unsigned __int128>(values[i]) * call.count;
            values[i] = call.low + (call.count == 0 ? values[i] : static_cast<uint64_t>(product >> 64));
        }
    };
    fill<uint64_t, kWords / 2>(call.size, call.state, call.threads, make,
                               [&](const uint64_t* values, int64_t begin, int n) {
                                   if (call.wide) {
                                       std::memcpy(static_cast<int64_t*>(call.y) + begin, values, n * sizeof *values);
                                       return;
                                   }
                                   int32_t* const y = static_cast<int32_t*>(call.y) + begin;
                                   for (int i = 0; i < n; ++i) y[i] = static_cast<int32_t>(values[i]);
                               });
}

CONVGPU_FOR_EACH_DTYPE(uniform, DrawCall)
CONVGPU_FOR_EACH_DTYPE(normal, DrawCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
