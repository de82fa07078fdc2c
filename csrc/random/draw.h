// What a draw makes of one block of words: kEach values.
#pragma once
#include <type_traits>

#include "../common/accumulate.h"
#include "box_muller.h"
#include "state.h"

namespace convgpu::random {

// Of float64, and of integers, a value takes 64 bits.
template <class A>
constexpr int kEachOf = std::is_same_v<A, double> ? kWords / 2 : kWords;

template <class T>
struct Uniform {
    using A = Accumulator<T>;
    static constexpr int kEach = kEachOf<A>;
    A low, span;

    __device__ __forceinline__ void operator()(const Words& words, T* values) const {
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            A u;
            if constexpr (std::is_same_v<A, double>) {
                u = mul(static_cast<double>(static_cast<int64_t>(words.wide(i) >> 11)), 1 / 9007199254740992.0);
            } else {
                u = mul(static_cast<float>(static_cast<int>(words.at[i] >> 8)), 1 / 16777216.0f);
            }
            values[i] = static_cast<T>(add(low, mul(u, span)));
        }
    }
};

template <class T>
struct Normal {
    using A = Accumulator<T>;
    static constexpr int kEach = kEachOf<A>;
    A mean, std;

    __device__ __forceinline__ void operator()(const Words& words, T* values) const {
#pragma unroll
        for (int i = 0; i < kEach; i += 2) {
            A pair[2];
            if constexpr (std::is_same_v<A, double>) {
                normal_pair(words.wide(i), words.wide(i + 1), pair);
            } else {
                normal_pair(words.at[i], words.at[i + 1], pair);
            }
            values[i] = static_cast<T>(add(mean, mul(pair[0], std)));
            values[i + 1] = static_cast<T>(add(mean, mul(pair[1], std)));
        }
    }
};

template <class T>
struct Integers {
    static constexpr int kEach = kWords / 2;
    uint64_t low, count;  // modulo 2^64

    __device__ __forceinline__ void operator()(const Words& words, T* values) const {
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            const uint64_t word = words.wide(i);
            values[i] = static_cast<T>(low + (count == 0 ? word : __umul64hi(word, count)));
        }
    }
};

}  // namespace convgpu::random
