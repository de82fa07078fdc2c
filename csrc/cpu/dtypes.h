// The floating dtypes of arrays, and the types that they are computed in.
#pragma once
#include <cstdint>

namespace convgpu::cpu {

struct Half {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

// The type that sums of T are taken in: float for half types, else T itself.
template <class T>
struct AccumulatorOf {
    using type = float;
};
template <>
struct AccumulatorOf<double> {
    using type = double;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

}  // namespace convgpu::cpu
