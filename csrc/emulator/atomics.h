// Atomics on global and shared memory. They are atomic for the host too, since blocks run on several OS threads.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace convgpu::emulator {

// Sets *p = update(*p) and returns the old value.
template <class T, class Update>
T atomic_update(T* p, Update update) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "atomics are 2, 4 or 8 bytes wide");
    using Word = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
    Word* word = reinterpret_cast<Word*>(p);
    Word before = __atomic_load_n(word, __ATOMIC_RELAXED), after;
    T old;
    do {
        std::memcpy(&old, &before, sizeof old);
        const T updated = update(old);
        std::memcpy(&after, &updated, sizeof after);
    } while (!__atomic_compare_exchange_n(word, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}

// A parameter of this type takes its type from another parameter: atomicAdd(float*, 1) adds 1.0f.
template <class T>
using As = std::common_type_t<T>;

}  // namespace convgpu::emulator

template <class T>
T atomicAdd(T* p, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [v](T x) { return static_cast<T>(x + v); });
}
template <class T>
T atomicMin(T* p, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [v](T x) { return v < x ? v : x; });
}
template <class T>
T atomicMax(T* p, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [v](T x) { return x < v ? v : x; });
}
template <class T>
T atomicOr(T* p, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [v](T x) { return x | v; });
}
template <class T>
T atomicAnd(T* p, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [v](T x) { return x & v; });
}
template <class T>
T atomicExch(T* p, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* p, convgpu::emulator::As<T> expected, convgpu::emulator::As<T> v) {
    return convgpu::emulator::atomic_update(p, [expected, v](T x) { return x == expected ? v : x; });
}
