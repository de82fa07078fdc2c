// What softmax and cross-entropy share: lines of classes, of which each is read from the first cache after its first
// pass, and what is found of a line.
//
// Where the classes of a line are neighbours, vectors lie along a line; else across up to kAcross lines.
#pragma once
#include "normalize.h"

namespace convgpu::cpu::CONVGPU_ISA {

template <class A>
constexpr int64_t kAcross = 4 * kLanes<A>;
constexpr int64_t kTerms = 32;  // terms of a sum in the accumulator's type, before it is added to a wider one

// The larger of two, where NaN is the largest; -0 and 0 are equal.
template <class A>
CONVGPU_INLINE Vector<A> larger_of(Vector<A> best, Vector<A> v) {
    return (v > best) | (v != v) ? v : best;
}

// What the lanes of a vector become: halves meet, then halves of that.
template <class A, int kBytes = kVectorBytes, class V, class Meet>
CONVGPU_INLINE A meet_lanes(V v, Meet meet) {
    if constexpr (kBytes == 16) {
        A all = v[0];
        for (int i = 1; i < static_cast<int>(16 / sizeof(A)); ++i) all = meet(all, A(v[i]));
        return all;
    } else {
        typedef A Half __attribute__((vector_size(kBytes / 2)));
        Half low, high;
        std::memcpy(&low, &v, kBytes / 2);
        std::memcpy(&high, reinterpret_cast<const char*>(&v) + kBytes / 2, kBytes / 2);
        return meet_lanes<A, kBytes / 2>(meet(low, high), meet);
    }
}

// Of a line: the largest x, the sum of exp(x - largest), and if wanted the sum of x - largest.
template <class A>
struct OfLineOfClasses {
    A largest;
    Wide<A> sum, shifted;
};

template <class T>
CONVGPU_INLINE Accumulator<T> largest_of(const T* x, int64_t n) {
    using A = Accumulator<T>;
    const Vector<A> lowest = broadcast(-kInfinite<A>);
    Vector<A> best = lowest;
    for_each_vector<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
        best = larger_of<A>(best, first_lanes<A>(read_lanes(x + i, lanes), lanes, lowest));
    });
    return meet_lanes<A>(best,
                         [](auto a, auto b) __attribute__((always_inline)) { return (b > a) | (b != b) ? b : a; });
}

// Calls terms(i, lanes) for the vectors of a line, and adds what it returns: 2 * kTerms vectors in the accumulator's
// type.
template <class A, class Terms>
CONVGPU_INLINE Wide<A> sum_of(int64_t n, Terms terms) {
    constexpr int64_t kPiece = 2 * kTerms * kLanes<A>;
    Wide<A> all = 0;
    for (int64_t k = 0; k < n; k += kPiece) {
        Vector<A> sum{};
        for_each_vector<A>(smaller(kPiece, n - k), [&](int64_t i, int lanes) __attribute__((always_inline)) {
            sum += first_lanes<A>(terms(k + i, lanes), lanes);
        });
        all += meet_lanes<A>(sum, [](auto a, auto b) __attribute__((always_inline)) { return a + b; });
    }
    return all;
}

template <class T, class A = Accumulator<T>>
CONVGPU_INLINE OfLineOfClasses<A> find(const T* x, int64_t n, bool wants_shifted) {
    OfLineOfClasses<A> found{largest_of(x, n), 0, 0};
    const Vector<A> largest = broadcast(found.largest);
    found.sum = sum_of<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
        return exponential(read_lanes(x + i, lanes) - largest);
    });
    if (wants_shifted) {
        found.shifted = sum_of<A>(
            n, [&](int64_t i, int lanes) __attribute__((always_inline)) { return read_lanes(x + i, lanes) - largest; });
    }
    return found;
}

// Sums of several lines side by side, which begins with no terms.
template <class A>
struct Across {
    A some[kAcross<A>];
    Wide<A> all[kAcross<A>];

    // Calls terms(class, line, lanes) for every class and every vector of `width` lines.
    template <class Terms>
    CONVGPU_INLINE void add(int64_t classes, int64_t width, Terms terms) {
        for (int64_t i = 0; i < width; ++i) all[i] = 0;
        for (int64_t c = 0; c < classes; c += kTerms) {
            std::memset(some, 0, sizeof(some));
            for (int64_t k = c; k < smaller(c + kTerms, classes); ++k) {
                for_each_vector<A>(width, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                    store(some + i, load(some + i) + terms(k, i, lanes));
                });
            }
            for (int64_t i = 0; i < width; ++i) all[i] += some[i];
        }
    }
};

template <class A>
struct AcrossLines {
    A largest[kAcross<A>];
    Across<A> sum, shifted;
};

// What is found of `width` lines side by side, whose classes lie `pitch` apart.
template <class T, class A = Accumulator<T>>
CONVGPU_INLINE void find_across(const T* x, int64_t classes, int64_t pitch, int64_t width, bool wants_shifted,
                                AcrossLines<A>& found) {
    for (int64_t i = 0; i < kAcross<A>; ++i) found.largest[i] = -kInfinite<A>;
    for (int64_t c = 0; c < classes; ++c) {
        for_each_vector<A>(width, [&](int64_t i, int lanes) __attribute__((always_inline)) {
            store(found.largest + i, larger_of<A>(load(found.largest + i), read_lanes(x + c * pitch + i, lanes)));
        });
    }
    const auto apart = [&](int64_t c, int64_t i, int lanes) __attribute__((always_inline)) {
        return read_lanes(x + c * pitch + i, lanes) - load(found.largest + i);
    };
    found.sum.add(classes, width, [&](int64_t c, int64_t i, int lanes) __attribute__((always_inline)) {
        return exponential(apart(c, i, lanes));
    });
    if (wants_shifted) found.shifted.add(classes, width, apart);
}

// Runs one(first line, lines, scratch) for tiles of whole lines, or across(o, first line of o, lines, scratch).
template <class A, class One, class Side>
void for_each_line(const SoftmaxCall& call, size_t bytes, One one, Side across) {
    const int threads = call.size() < kNormSmall ? 1 : call.threads;
    if (call.inner == 1) {
        const int64_t chunk = larger<int64_t>(1, kNormSmall / larger<int64_t>(call.classes, 1));
        parallel_for(parts(call.outer, chunk), threads, 0, [&](int64_t i, char*) {
            for (int64_t line = i * chunk; line < smaller((i + 1) * chunk, call.outer); ++line) one(line);
        });
        return;
    }
    const int64_t strips = parts(call.inner, kAcross<A>);
    parallel_for(call.outer * strips, threads, bytes, [&](int64_t i, char* scratch) {
        const int64_t first = i % strips * kAcross<A>;
        across(i / strips, first, smaller(kAcross<A>, call.inner - first), scratch);
    });
}

}  // namespace convgpu::cpu::CONVGPU_ISA
