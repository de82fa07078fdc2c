// Power pooling: y = (sum of |x|^p over a window)^(1/p); and its gradients, sums of g * f(x / y).
//
// A thread owns a tile of the results: some rows of pixels, and a block of channels. lp_pool takes a vector of channels
// at a time, whose powers other than 1 and 2 are taken one by one, and copies channels that are not neighbours.
// Gradients take elements one by one, and read them where they are.
// Layouts: any.
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

template <class A, class Function>
CONVGPU_INLINE Vector<A> each_lane(Vector<A> v, int lanes, Function function) {
    A all[kLanes<A>];
    store(all, v);
    for (int i = 0; i < lanes; ++i) all[i] = function(all[i]);
    return load(all);
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

// The norm of a window of each lane.
template <class T>
CONVGPU_INLINE Vector<Accumulator<T>> norm_of_window(const Pixels<const T>& x, const PoolAxis* axis, int64_t n,
                                                     int64_t o, int64_t p, int64_t q, int64_t c, int lanes,
                                                     Accumulator<T> norm) {
    using A = Accumulator<T>;
    const auto for_each_size = [&](auto use) __attribute__((always_inline)) {
        for_each_pixel(axis, o, p, q, [&](int64_t d, int64_t h, int64_t w) __attribute__((always_inline)) {
            const Vector<A> v = read_lanes(x.at(n, d, h, w) + c, lanes);
            use(v < 0 ? -v : v + 0);  // -0 + 0 is 0
        });
    };
    Vector<A> largest{};
    for_each_size([&](Vector<A> size) __attribute__((always_inline)) {
        largest = (size > largest) | ((size != size) & (largest == largest)) ? size : largest;
    });
    const Integers<A> ordinary = (largest > 0) & (largest - largest == 0);
    const Vector<A> divisor = ordinary ? largest : broadcast(A(1));
    VectorSum<A> sum;
    for_each_size([&](Vector<A> size) __attribute__((always_inline)) {
        const Vector<A> t = size / divisor;
        sum.add(norm == 1 ? t : norm == 2 ? t * t : each_lane<A>(t, lanes, [&](A a) { return power(a, norm); }));
    });
    const Vector<A> y =
        norm == 1 ? sum.value() : each_lane<A>(sum.value(), kLanes<A>, [&](A a) { return root(a, norm); });
    return ordinary ? largest * y : largest;  // 0, Inf and NaN are the norm themselves
}

}  // namespace

template <class T>
void lp_pool(const PoolCall& call) {
    using A = Accumulator<T>;
    const A norm = static_cast<A>(call.power);
    const PoolAxis* const axis = call.axis;
    const bool copies = call.x.step_c != 1 || call.y.step_c != 1;
    for_each_part(
        call.y, call.threads, copies, 2, sizeof(T), 16 * call.work,
        [&](const Boxes& boxes) { return input_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const auto x = read_part<T>(call.x, input_part(axis, part), scratch);
            const Box& box = part.box;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
                    for (int64_t p = box.begin[2]; p < box.end[2]; ++p) {
                        auto y = result_row<T>(call.y, part, n, o, p, scratch);
                        for (int64_t q = box.begin[3]; q < box.end[3]; ++q, y.data += y.step) {
                            for_each_lanes<A>(part.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                                write_lanes(y.data + c, norm_of_window<T>(x, axis, n, o, p, q, c, lanes, norm), lanes);
                            });
                        }
                        deliver_row<T>(call.y, part, n, o, p, scratch);
                    }
                }
            }
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
