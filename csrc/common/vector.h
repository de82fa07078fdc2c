// Loads and stores of neighbouring elements, in accesses of up to 16 bytes.
#pragma once
#include <cstring>

#include "../device/launch.h"

namespace convgpu {

constexpr int kVectorBytes = 16;  // the widest access that one thread can make

template <class T, int V>
struct Vector {
    T at[V];
};

namespace detail {
template <int Bytes>
struct Word;
template <>
struct Word<1> {
    using type = uint8_t;
};
template <>
struct Word<2> {
    using type = uint16_t;
};
template <>
struct Word<4> {
    using type = uint32_t;
};
template <>
struct Word<8> {
    using type = uint2;
};
template <>
struct Word<16> {
    using type = uint4;
};
template <int Bytes>
using WordOf = typename Word<(Bytes < kVectorBytes ? Bytes : kVectorBytes)>::type;
}  // namespace detail

// Loads V elements. p must be aligned to the size of the vector, or to 16 bytes where the vector is longer.
template <int V, class T>
__device__ __forceinline__ Vector<T, V> load(const T* p) {
    using Word = detail::WordOf<sizeof(T) * V>;
    Word words[sizeof(T) * V / sizeof(Word)];
#pragma unroll
    for (size_t i = 0; i < sizeof(words) / sizeof(Word); ++i) words[i] = reinterpret_cast<const Word*>(p)[i];
    Vector<T, V> vector;
    memcpy(static_cast<void*>(&vector), words, sizeof vector);
    return vector;
}

// Loads V elements where `inside` holds; else returns V times `otherwise`. The load is predicated, so that other loads
// need not wait for it.
template <int V, class T>
__device__ __forceinline__ Vector<T, V> load_if(bool inside, const T* p, T otherwise) {
    Vector<T, V> vector;
#pragma unroll
    for (int v = 0; v < V; ++v) vector.at[v] = otherwise;
    if (inside) vector = load<V>(p);
    return vector;
}

// Stores V elements. p must be aligned as for load.
template <int V, class T>
__device__ __forceinline__ void store(T* p, const Vector<T, V>& vector) {
    using Word = detail::WordOf<sizeof(T) * V>;
    Word words[sizeof(T) * V / sizeof(Word)];
    memcpy(words, static_cast<const void*>(&vector), sizeof vector);
#pragma unroll
    for (size_t i = 0; i < sizeof(words) / sizeof(Word); ++i) reinterpret_cast<Word*>(p)[i] = words[i];
}

}  // namespace convgpu
