// Power pooling: y = (sum of |x|^p over a window)^(1/p); and its gradients, sums of g * f(x / y).
//
// A thread owns a tile of the results: some rows of pixels, and a block of channels, which it takes one by one, since a
// power costs more than all the rest.
// Layouts: any; elements are read where they are.
// Padding is skipped.
// Order: lp_pool first finds the largest |x| of a window, and adds the powers of |x| / largest, so that none overflows.
// Taps, or windows, are added in row-major order, in blocks of kBlock.
#include <math.h>

#include "table.h"
#include "windows.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

CONVGPU_INLINE float power(float t, float e) { return e == 1 ? t : e == 2 ? t * t : __builtin_powf(t, e); }
CONVGPU_INLINE double power(double t, double e) { return e == 1 ? t : e == 2 ? t * t : __builtin_pow(t, e); }
CONVGPU_INLINE float root(float t, float norm) {
    return norm == 1 ? t : norm == 2 ? __builtin_sqrtf(t) : __builtin_powf(t, 1 / norm);
}
CONVGPU_INLINE double root(double t, double norm) {
    return norm == 1 ? t : norm == 2 ? __builtin_sqrt(t) : __builtin_pow(t, 1 / norm);
}
CONVGPU_INLINE float magnitude(float t) { return __builtin_fabsf(t); }
CONVGPU_INLINE double magnitude(double t) { return __builtin_fabs(t); }

// |x / y|^exponent, times the sign of x where signed; 0 where y is 0, and where x is 0 and the exponent is negative.
template <class A>
CONVGPU_INLINE A power_of_quotient(A x, A y, A exponent, bool with_sign) {
    if (y == 0 || (x == 0 && exponent < 0)) return 0;
    const A t = power(magnitude(x / y), exponent);
    if (!with_sign) return t;
    return x > 0 ? t : x < 0 ? -t : t * x;  // a NaN stays NaN
}

// A sum in blocks of kBlock terms.
template <class A>
class Sum {
public:
    CONVGPU_INLINE void add(A v) {
        block_ += v;
        if (++terms_ % kBlock != 0) return;
        total_ += block_;
        block_ = 0;
    }
    CONVGPU_INLINE A value() const { return total_ + block_; }

private:
    A total_ = 0, block_ = 0;
    int terms_ = 0;
};

// Calls use(n, i, j, k, c) for every element of `result`.
template <class Use>
void for_each_element(const PoolCall& call, const Images& result, Use use) {
    for_each_part(
        result, call.threads, false, 0, 0, 16 * call.work, [](const Boxes&) { return 0; },
        [&](const Part& part, char*) {
            const Box& box = part.box;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                    for (int64_t j = box.begin[2]; j < box.end[2]; ++j) {
                        for (int64_t k = box.begin[3]; k < box.end[3]; ++k) {
                            for (int64_t c = part.c; c < part.c + part.channels; ++c) use(n, i, j, k, c);
                        }
                    }
                }
            }
        });
}

// Calls use(d, h, w) for the pixels of a window that lie inside the input, in row-major order.
template <class Use>
CONVGPU_INLINE void for_each_pixel(const PoolAxis* axis, int64_t o, int64_t p, int64_t q, Use use) {
    const Range ts = inside(axis[0], o), rs = inside(axis[1], p), ss = inside(axis[2], q);
    for (int64_t t = ts.begin; t < ts.end; ++t) {
        for (int64_t r = rs.begin; r < rs.end; ++r) {
            for (int64_t s = ss.begin; s < ss.end; ++s) {
                use(start(axis[0], o) + t * axis[0].dilation, start(axis[1], p) + r * axis[1].dilation,
                    start(axis[2], q) + s * axis[2].dilation);
            }
        }
    }
}

}  // namespace

template <class T>
void lp_pool(const PoolCall& call) {
    using A = Accumulator<T>;
    const A norm = static_cast<A>(call.power);
    for_each_element(call, call.y, [&](int64_t n, int64_t o, int64_t p, int64_t q, int64_t c) {
        A largest = 0;
        for_each_pixel(call.axis, o, p, q, [&](int64_t d, int64_t h, int64_t w) {
            const A size = magnitude(widened(*call.x.at<const T>(n, d, h, w, c)));
            if (size > largest || size != size) largest = largest == largest ? size : largest;
        });
        const bool ordinary = largest > 0 && largest - largest == 0;
        A y = largest;  // 0, Inf and NaN are the norm themselves
        if (ordinary) {
            Sum<A> sum;
            for_each_pixel(call.axis, o, p, q, [&](int64_t d, int64_t h, int64_t w) {
                sum.add(power(magnitude(widened(*call.x.at<const T>(n, d, h, w, c))) / largest, norm));
            });
            y = largest * root(sum.value(), norm);
        }
        *call.y.at<T>(n, o, p, q, c) = narrowed<T>(y);
    });
}

template <class T>
void lp_pool_dgrad(const PoolCall& call) {
    using A = Accumulator<T>;
    const A exponent = static_cast<A>(call.power);
    const PoolAxis* const axis = call.axis;
    for_each_element(call, call.gx, [&](int64_t n, int64_t d, int64_t h, int64_t w, int64_t c) {
        const Range os = covering(axis[0], d), ps = covering(axis[1], h), qs = covering(axis[2], w);
        const A x = widened(*call.x.at<const T>(n, d, h, w, c));
        Sum<A> sum;
        for (int64_t o = os.begin; o < os.end; ++o) {
            for (int64_t p = ps.begin; p < ps.end; ++p) {
                for (int64_t q = qs.begin; q < qs.end; ++q) {
                    if (!holds(axis, o, p, q, d, h, w)) continue;
                    sum.add(
                        widened(*call.gy.at<const T>(n, o, p, q, c)) *
                        power_of_quotient(x, widened(*call.y.at<const T>(n, o, p, q, c)), exponent, call.with_sign));
                }
            }
        }
        *call.gx.at<T>(n, d, h, w, c) = narrowed<T>(sum.value());
    });
}

template <class T>
void lp_pool_gather(const PoolCall& call) {
    using A = Accumulator<T>;
    const A exponent = static_cast<A>(call.power);
    for_each_element(call, call.y, [&](int64_t n, int64_t o, int64_t p, int64_t q, int64_t c) {
        const A y = widened(*call.y.at<const T>(n, o, p, q, c));
        Sum<A> sum;
        for_each_pixel(call.axis, o, p, q, [&](int64_t d, int64_t h, int64_t w) {
            sum.add(widened(*call.v.at<const T>(n, d, h, w, c)) *
                    power_of_quotient(widened(*call.x.at<const T>(n, d, h, w, c)), y, exponent, call.with_sign));
        });
        *call.z.at<T>(n, o, p, q, c) = narrowed<T>(sum.value());
    });
}

CONVGPU_FOR_EACH_DTYPE(lp_pool, PoolCall)
CONVGPU_FOR_EACH_DTYPE(lp_pool_dgrad, PoolCall)
CONVGPU_FOR_EACH_DTYPE(lp_pool_gather, PoolCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
