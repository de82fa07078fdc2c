// What the statistics kernels write: the mean, 1 / the standard deviation, and what running statistics have learned.
#pragma once
#include "moments.h"
#include "problem.h"

namespace convgpu::norm {

template <class A>
struct Statistics {
    A *mean = nullptr, *rest = nullptr, *rstd = nullptr;  // [outer][group]
    const A *old_mean = nullptr, *old_var = nullptr;      // [group], only where outer is 1
    A *new_mean = nullptr, *new_var = nullptr;            // [group], or null
    A epsilon = 0, momentum = 0;
    A count = 1, unbiased = 1;  // values that share a mean, and count / (count - correction)
    bool tiny = false;          // whether epsilon is too small to hide vanishing squares

    __device__ __forceinline__ void put(int64_t i, const Moments<A>& m) const {
        const A var = m.squares / count;                                    // times unit^2
        const A nan = m.squares - m.squares, high = m.mean / m.unit + nan;  // NaN if anything was NaN or Inf, else + 0
        mean[i] = high;
        rest[i] = m.rest / m.unit + nan;
        rstd[i] = m.unit / sqrt(var + epsilon * m.unit * m.unit);
        if (!new_mean) return;
        new_mean[i] = momentum * old_mean[i] + (1 - momentum) * high;
        new_var[i] = momentum * old_var[i] + (1 - momentum) * (var / m.unit / m.unit * unbiased);
    }
};

}  // namespace convgpu::norm
