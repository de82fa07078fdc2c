// Runs the CPU's kernels on arrays of exactly the bytes that they need, on one thread and on several, and compares them
// with plain loops. The sanitizers watch this program.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "../../csrc/cpu/conv.h"
#include "../../csrc/cpu/elementwise.h"
#include "../../csrc/cpu/gemm.h"
#include "../../csrc/cpu/isa.h"
#include "../../csrc/cpu/moves.h"
#include "../../csrc/cpu/norm.h"
#include "../../csrc/cpu/optim.h"
#include "../../csrc/cpu/pool.h"
#include "../../csrc/cpu/random.h"
#include "../../csrc/cpu/reduce.h"
#include "../../csrc/cpu/softmax.h"

using namespace convgpu;
using cpu::ConvProblem;

namespace {

// An array of float32 or float64 without a byte to spare, of whole numbers from -3 to 3: their sums are exact.
struct Owned {
    std::unique_ptr<char[]> memory;
    Array array;

    Owned(Shape shape, DType dtype, unsigned seed = 0) {
        array.shape = std::move(shape);
        array.dtype = dtype;
        array.strides.resize(array.shape.size());
        auto step = static_cast<int64_t>(size_of(dtype));
        for (size_t a = array.shape.size(); a-- > 0; step *= array.shape[a]) array.strides[a] = step;
        memory.reset(new char[array.size() * size_of(dtype)]);
        array.data = memory.get();
        std::mt19937 random(seed);
        for (int64_t i = 0; i < array.size(); ++i) set(i, seed ? static_cast<int>(random() % 7) - 3 : NAN);
    }
    double get(int64_t i) const {
        switch (array.dtype) {
            case DType::kFloat64:
                return array.as<double>()[i];
            case DType::kFloat32:
                return array.as<float>()[i];
            default: {  // bfloat16
                const uint32_t bits = uint32_t(array.as<uint16_t>()[i]) << 16;
                float value;
                std::memcpy(&value, &bits, 4);
                return value;
            }
        }
    }
    void set(int64_t i, double value) {
        if (array.dtype == DType::kFloat64) {
            array.as<double>()[i] = value;
        } else if (array.dtype == DType::kFloat32) {
            array.as<float>()[i] = static_cast<float>(value);
        } else {
            const float narrow = static_cast<float>(value);
            uint32_t bits;
            std::memcpy(&bits, &narrow, 4);
            array.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
        }
    }
};

std::atomic<int> failures{0}, runs{0};

// Elements may differ from the right ones by `relative` of them, and by `relative` of 1 where the results are not
// exact.
void expect(const Owned& got, const std::vector<double>& right, const std::string& what, double relative = 0) {
    ++runs;
    const double tolerance = got.array.dtype == DType::kBFloat16 ? 1.0 / 128 : relative;
    for (int64_t i = 0; i < got.array.size(); ++i) {
        if (std::fabs(got.get(i) - right[i]) <= tolerance * (std::fabs(right[i]) + (relative > 0))) continue;
        std::printf("%s: element %ld: expected %g, got %g\n", what.c_str(), static_cast<long>(i), right[i], got.get(i));
        ++failures;
        return;
    }
}

struct Case {
    int64_t batch, channels, filters;
    Shape size, kernel, stride, before, after, dilation;
    int64_t groups;
};

const Case kCases[] = {
    {2, 3, 5, {9, 11}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},      // few channels: a row of taps is one run
    {1, 3, 20, {21, 19}, {7, 7}, {2, 2}, {3, 3}, {3, 3}, {1, 1}, 1},    // a stem
    {3, 17, 70, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},     // several images in a box
    {1, 150, 9, {6, 5}, {3, 3}, {2, 1}, {1, 2}, {2, 0}, {1, 1}, 1},     // blocks within a tap
    {2, 20, 33, {12, 13}, {1, 1}, {2, 2}, {0, 0}, {0, 0}, {1, 1}, 1},   // phases without taps
    {2, 18, 24, {10, 9}, {3, 2}, {2, 3}, {2, 0}, {1, 4}, {2, 1}, 3},    // groups, dilation, asymmetric padding
    {2, 37, 37, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 37},  // depthwise
    {2, 20, 20, {13, 12}, {5, 5}, {2, 2}, {2, 1}, {2, 3}, {1, 1}, 20},  // depthwise with a stride
    {1, 19, 19, {11, 9}, {3, 3}, {1, 1}, {3, 3}, {3, 3}, {3, 3}, 19},   // depthwise with a dilation
    {1, 6, 12, {11, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 6},     // two filters for each channel
    {1, 5, 6, {4, 5, 6}, {2, 3, 3}, {1, 2, 1}, {1, 1, 0}, {0, 1, 2}, {1, 1, 1}, 1},
    {3, 4, 65, {300}, {9}, {4}, {4}, {4}, {1}, 1},
    {0, 4, 5, {6, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},  // no images
};

// Calls use(x element, w element, y element) for every product of a convolution.
template <class Use>
void each_product(const ConvGeometry& geo, Use use) {
    const int rank = geo.rank();
    const int64_t pixels = geo.output_pixels(), taps = geo.taps(), inputs = geo.input_pixels();
    const int64_t c_each = geo.channels / geo.groups, k_each = geo.filters / geo.groups;
    for (int64_t n = 0; n < geo.batch; ++n) {
        for (int64_t p = 0; p < pixels; ++p) {
            for (int64_t t = 0; t < taps; ++t) {
                int64_t pixel = 0, out = p, tap = t, step = 1;
                bool inside = true;
                for (int a = rank - 1; a >= 0; --a) {
                    const int64_t at =
                        out % geo.output[a] * geo.stride[a] + tap % geo.kernel[a] * geo.dilation[a] - geo.before[a];
                    inside &= at >= 0 && at < geo.size[a];
                    pixel += at * step;
                    step *= geo.size[a];
                    out /= geo.output[a];
                    tap /= geo.kernel[a];
                }
                if (!inside) continue;
                for (int64_t k = 0; k < geo.filters; ++k) {
                    for (int64_t c = 0; c < c_each; ++c) {
                        const int64_t channel = k / k_each * c_each + c;
                        if (geo.channels_last) {
                            use((n * inputs + pixel) * geo.channels + channel, (t * c_each + c) * geo.filters + k,
                                (n * pixels + p) * geo.filters + k);
                        } else {
                            use((n * geo.channels + channel) * inputs + pixel, (k * c_each + c) * taps + t,
                                (n * geo.filters + k) * pixels + p);
                        }
                    }
                }
            }
        }
    }
}

void convolutions(DType dtype, bool channels_last, int threads) {
    for (const Case& c : kCases) {
        ConvGeometry geo{c.batch,  c.channels, c.filters,  c.size,   c.kernel,      c.stride,
                         c.before, c.after,    c.dilation, c.groups, channels_last, {}};
        geo.check();
        const ConvProblem problem(geo);
        const Owned x(geo.x_shape(), dtype, 1), w(geo.w_shape(), dtype, 2), gy(geo.y_shape(), dtype, 3);
        const Owned bias({geo.filters}, dtype, 4);
        Owned y(geo.y_shape(), dtype), gx(geo.x_shape(), dtype), gw(geo.w_shape(), dtype);
        std::vector<double> right_y(y.array.size()), right_gx(gx.array.size()), right_gw(gw.array.size());
        const int64_t inner = channels_last ? 1 : geo.output_pixels();
        for (int64_t i = 0; i < y.array.size(); ++i) right_y[i] = bias.get(i / inner % geo.filters);
        each_product(geo, [&](int64_t i, int64_t j, int64_t k) {
            right_y[k] += x.get(i) * w.get(j);
            right_gx[i] += gy.get(k) * w.get(j);
            right_gw[j] += x.get(i) * gy.get(k);
        });
        for (double& value : right_y) value = value > 0 ? value : 0;
        cpu::conv_fprop(x.array, w.array, &bias.array, y.array, problem, Activation::kRelu, threads);
        cpu::conv_dgrad(gy.array, w.array, nullptr, gx.array, problem, Activation::kNone, threads);
        cpu::conv_wgrad(x.array, gy.array, gw.array, problem, threads);
        const std::string name = std::to_string(&c - kCases) + (channels_last ? " last " : " first ") + name_of(dtype);
        expect(y, right_y, "conv_fprop " + name);
        expect(gx, right_gx, "conv_dgrad " + name);
        expect(gw, right_gw, "conv_wgrad " + name);
        Owned gb({geo.filters}, dtype);
        std::vector<double> right_gb(geo.filters);
        for (int64_t i = 0; i < gy.array.size(); ++i) right_gb[i / inner % geo.filters] += gy.get(i);
        cpu::channel_sum(gy.array, gb.array, channels_last, threads);
        expect(gb, right_gb, "channel_sum " + name);
    }
}

void pools_of(const PoolGeometry& geo, DType dtype, int threads) {
    geo.check();
    const Owned x(geo.x_shape(), dtype, 1), gy(geo.y_shape(), dtype, 2);
    Owned y(geo.y_shape(), dtype), gx(geo.x_shape(), dtype), z(geo.y_shape(), dtype), average(geo.y_shape(), dtype);
    Owned share(geo.x_shape(), dtype), norm(geo.y_shape(), dtype), gnorm(geo.x_shape(), dtype);
    Array offsets = gy.array;
    const std::unique_ptr<char[]> memory(new char[gy.array.size()]);
    offsets.data = memory.get();
    for (int64_t& stride : offsets.strides) stride /= static_cast<int64_t>(size_of(dtype));
    offsets.dtype = geo.offset_dtype();
    cpu::max_pool(x.array, y.array, &offsets, geo, threads);
    cpu::max_pool_dgrad(gy.array, offsets, gx.array, geo, threads);
    cpu::max_pool_gather(x.array, offsets, z.array, geo, threads);
    cpu::avg_pool(x.array, average.array, geo, threads);
    cpu::avg_pool_dgrad(gy.array, share.array, geo, threads);
    cpu::lp_pool(x.array, norm.array, geo, 3.0, threads);
    cpu::lp_pool_dgrad(gy.array, x.array, norm.array, gnorm.array, geo, 2.0, true, threads);
    cpu::lp_pool_gather(x.array, x.array, norm.array, z.array, geo, 2.0, false, threads);
    cpu::max_pool_gather(x.array, offsets, z.array, geo, threads);
    std::vector<double> right(y.array.size());
    double given = 0, received = 0;
    for (int64_t i = 0; i < y.array.size(); ++i) {
        right[i] = y.get(i);
        given += gy.get(i);
    }
    for (int64_t i = 0; i < gx.array.size(); ++i) received += gx.get(i);
    expect(z, right, "max_pool_gather");
    ++runs;
    if (given != received) {
        std::printf("max_pool_dgrad: expected a sum of %g, got %g\n", given, received);
        ++failures;
    }
}

void pools(DType dtype, bool channels_last, int threads) {
    for (const PoolGeometry& geo : {
             PoolGeometry{2, 21, {11, 9}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, {6, 5}, false, false, channels_last},
             PoolGeometry{2, 3, {8, 34}, {2, 2}, {2, 2}, {0, 0}, {0, 0}, {1, 1}, {4, 17}, false, false, channels_last},
             PoolGeometry{1, 2, {9, 33}, {2, 3}, {1, 1}, {0, 2}, {1, 0}, {1, 1}, {9, 33}, false, true, channels_last},
             PoolGeometry{1, 2, {60}, {3}, {4}, {2}, {3}, {3}, {15}, false, false, channels_last},
             PoolGeometry{2, 3, {7, 36}, {7, 36}, {7, 36}, {0, 0}, {0, 0}, {1, 1}, {1, 1}, false, false, channels_last},
         }) {
        pools_of(geo, dtype, threads);
    }
}

void products(DType dtype, int threads) {
    for (const auto& [items, M, N, K] : {std::tuple<int64_t, int64_t, int64_t, int64_t>{1, 5, 7, 300},
                                         {2, 130, 70, 9},
                                         {1, 33, 65, 17},
                                         {1, 1, 50, 20},
                                         {3, 7, 1, 1}}) {
        const Owned a({items, M, K}, dtype, 1), b({items, K, N}, dtype, 2);
        Owned y({items, M, N}, dtype);
        std::vector<double> right(y.array.size());
        for (int64_t i = 0; i < y.array.size(); ++i) {
            for (int64_t k = 0; k < K; ++k) right[i] += a.get(i / N * K + k) * b.get(i / N / M * K * N + k * N + i % N);
        }
        cpu::gemm(a.array, b.array, nullptr, y.array, 1, 0, Activation::kNone, threads);
        expect(y, right, "gemm");
        Owned swapped({items, N, M}, dtype), again({items, M, N}, dtype);
        cpu::swap_last_axes(y.array, swapped.array, threads);
        cpu::swap_last_axes(swapped.array, again.array, threads);
        for (int64_t i = 0; i < y.array.size(); ++i) right[i] = y.get(i);
        expect(again, right, "swap_last_axes");
    }
}

DType wide(DType dtype) { return dtype == DType::kFloat64 ? dtype : DType::kFloat32; }
constexpr double kRounding = 1e-5;

void norms(DType dtype, int threads) {
    for (const NormGeometry& geo :
         {NormGeometry{1, 70, 33, 1, 33}, NormGeometry{1, 301, 3, 1, 3}, NormGeometry{1, 3, 7, 45, 7},
          NormGeometry{1, 4, 5, 3, 5}, NormGeometry{1, 1, 1, 9001, 1}, NormGeometry{3, 19, 12, 1, 3},
          NormGeometry{3, 1, 12, 10, 4}, NormGeometry{9, 1, 37, 1, 1}, NormGeometry{2, 1, 600, 1, 6},
          NormGeometry{0, 4, 5, 1, 5}}) {
        const Shape shape{geo.outer, geo.rows, geo.channels, geo.inner};
        const Owned x(shape, dtype, 1), gy(shape, dtype, 2), beside(shape, dtype, 3);
        const Owned scale({geo.channels}, wide(dtype), 4), offset({geo.channels}, wide(dtype), 5);
        Owned mean({2, geo.outer, geo.groups}, wide(dtype)), rstd({geo.outer, geo.groups}, wide(dtype));
        Owned y(shape, dtype), gx(shape, dtype), gresidual(shape, dtype), gscale({geo.channels}, wide(dtype));
        Owned goffset({geo.channels}, wide(dtype)), inferred(shape, dtype);
        cpu::norm_stats(x.array, mean.array, rstd.array, {}, geo, 1, threads);
        cpu::norm_apply(x.array, mean.array, rstd.array, &scale.array, &offset.array, &beside.array, y.array, geo,
                        cpu::NormActivation::kRelu, threads);
        cpu::norm_dgrad(gy.array, x.array, mean.array, rstd.array, &scale.array, &offset.array, &y.array,
                        {&gx.array, &gscale.array, &goffset.array, &gresidual.array}, geo, cpu::NormActivation::kRelu,
                        threads);
        const auto channel = [&](int64_t i) { return i / geo.inner % geo.channels; };
        const auto statistic = [&](int64_t i) {
            return i / geo.inner / geo.channels / geo.rows * geo.groups + channel(i) / geo.per_group();
        };
        std::vector<double> one(geo.statistics()), two(geo.statistics()), rate(geo.statistics()), right(x.array.size());
        std::vector<double> all(geo.channels), of_scale(geo.channels), g(x.array.size()), xn(x.array.size());
        for (int64_t i = 0; i < x.array.size(); ++i) one[statistic(i)] += x.get(i) / geo.count();
        for (int64_t i = 0; i < x.array.size(); ++i) two[statistic(i)] += std::pow(x.get(i) - one[statistic(i)], 2);
        for (int64_t s = 0; s < geo.statistics(); ++s) rate[s] = 1 / std::sqrt(two[s] / geo.count() + 1);
        std::vector<double> m1(geo.statistics()), m2(geo.statistics());
        for (int64_t i = 0; i < x.array.size(); ++i) {
            const int64_t c = channel(i), s = statistic(i);
            xn[i] = (x.get(i) - one[s]) * rate[s];
            right[i] = std::fmax(xn[i] * scale.get(c) + offset.get(c) + beside.get(i), 0);
            g[i] = y.get(i) > 0 ? gy.get(i) : 0;
            all[c] += g[i];
            of_scale[c] += g[i] * xn[i];
            m1[s] += scale.get(c) * g[i] / geo.count();
            m2[s] += scale.get(c) * g[i] * xn[i] / geo.count();
        }
        expect(y, right, "norm_apply", kRounding);
        for (int64_t i = 0; i < x.array.size(); ++i) {
            const int64_t s = statistic(i);
            right[i] = rate[s] * (scale.get(channel(i)) * g[i] - m1[s] - xn[i] * m2[s]);
        }
        expect(gx, right, "norm_dgrad: gx", 10 * kRounding);
        expect(gresidual, g, "norm_dgrad: gresidual");
        expect(goffset, all, "norm_dgrad: goffset", kRounding);
        expect(gscale, of_scale, "norm_dgrad: gscale", 100 * kRounding);
        const Owned given({geo.channels}, wide(dtype), 6);
        Owned var({geo.channels}, wide(dtype), 7);
        for (int64_t c = 0; c < geo.channels; ++c) var.set(c, std::fabs(var.get(c)));
        cpu::norm_infer(x.array, given.array, var.array, &scale.array, nullptr, nullptr, inferred.array, geo,
                        cpu::NormActivation::kNone, 1, threads);
        for (int64_t i = 0; i < x.array.size(); ++i) {
            const int64_t c = channel(i);
            right[i] = (x.get(i) - given.get(c)) / std::sqrt(var.get(c) + 1) * scale.get(c);
        }
        expect(inferred, right, "norm_infer", kRounding);
    }
}

void softmaxes(DType dtype, int threads) {
    for (const auto& [shape, axis] :
         {std::tuple<Shape, int64_t>{{70, 10}, 1}, {{3, 700}, 1}, {{2, 21, 5, 9}, 1}, {{300, 70}, 0}, {{0, 4}, 1}}) {
        const Owned x(shape, dtype, 1), gy(shape, dtype, 2);
        Owned y(shape, dtype), gx(shape, dtype), glogits(shape, dtype);
        Shape lines = shape;
        lines.erase(lines.begin() + axis);
        int64_t inner = 1;
        for (size_t a = axis + 1; a < shape.size(); ++a) inner *= shape[a];
        const int64_t classes = shape[axis], count = x.array.size() / classes;
        Owned losses(lines, wide(dtype)), statistics({2, count}, wide(dtype)), labels(lines, DType::kFloat32);
        const Owned g(lines, wide(dtype), 3);
        std::vector<int32_t> memory(count + 1);
        labels.array.dtype = DType::kInt32;
        labels.array.data = memory.data();
        for (int64_t i = 0; i < count; ++i) memory[i] = static_cast<int32_t>(i * 7 % classes);
        int32_t wrong = 1;
        const Array flag{&wrong, {1}, {4}, DType::kInt32};
        const cpu::Loss loss{axis, 0.25, cpu::LossReduction::kNone};
        cpu::softmax(x.array, y.array, axis, false, threads);
        cpu::softmax_dgrad(gy.array, y.array, gx.array, axis, false, threads);
        cpu::cross_entropy(x.array, labels.array, losses.array, statistics.array, flag, loss, threads);
        cpu::cross_entropy_dgrad(x.array, labels.array, statistics.array, g.array, glogits.array, loss, threads);
        std::vector<double> right(x.array.size()), right_gx(right), right_losses(count), right_glogits(right);
        for (int64_t line = 0; line < count; ++line) {
            const auto at = [&](int64_t c) { return (line / inner * classes + c) * inner + line % inner; };
            double sum = 0, dot = 0;
            for (int64_t c = 0; c < classes; ++c) sum += std::exp(x.get(at(c)));
            for (int64_t c = 0; c < classes; ++c) {
                const double p = std::exp(x.get(at(c))) / sum;
                const double target = 0.25 / classes + (c == memory[line] ? 0.75 : 0);
                right[at(c)] = p;
                right_losses[line] -= target * std::log(p);
                right_glogits[at(c)] = (p - target) * g.get(line);
                dot += gy.get(at(c)) * y.get(at(c));
            }
            for (int64_t c = 0; c < classes; ++c) right_gx[at(c)] = y.get(at(c)) * (gy.get(at(c)) - dot);
        }
        expect(y, right, "softmax", kRounding);
        expect(gx, right_gx, "softmax_dgrad", kRounding);
        expect(losses, right_losses, "cross_entropy", kRounding);
        expect(glogits, right_glogits, "cross_entropy_dgrad", kRounding);
        if (wrong) ++failures;
    }
}

void reductions(DType dtype, int threads) {
    for (const Shape& shape : {Shape{1, 5, 301, 1}, Shape{70, 1, 1, 33}, Shape{3, 4, 7, 5}, Shape{301, 1, 1, 3},
                               Shape{1, 1, 90001, 1}, Shape{9, 21, 40, 1}, Shape{1, 600, 1, 70}}) {
        const Owned x(shape, dtype, 1);
        Owned sum({shape[1], shape[3]}, dtype), most({shape[1], shape[3]}, dtype);
        std::vector<double> right(sum.array.size()), largest(sum.array.size(), -3);
        for (int64_t i = 0; i < x.array.size(); ++i) {
            const int64_t k = i / shape[3] / shape[2] % shape[1] * shape[3] + i % shape[3];
            right[k] += x.get(i);
            largest[k] = std::fmax(largest[k], x.get(i));
        }
        cpu::reduce(x.array, sum.array, cpu::Reduction::kSum, threads);
        cpu::reduce(x.array, most.array, cpu::Reduction::kMax, threads);
        expect(sum, right, "reduce: sum");
        expect(most, largest, "reduce: max");
    }
}

// All functions run; those that choose, and sums, are compared, of whole arrays and of every third element of a row.
void elements(DType dtype, int threads) {
    const Owned x({3, 35, 603}, dtype, 1), g({3, 35, 603}, dtype, 2), rows({35, 1}, dtype, 3);
    Owned y({3, 35, 603}, dtype), z({3, 35, 201}, dtype);
    Array third = x.array, gradient = g.array;
    for (Array* view : {&third, &gradient}) {
        view->shape[2] = 201;
        view->strides[2] *= 3;
    }
    for (const char* name : {"leaky_relu", "sigmoid", "tanh", "elu", "softplus", "silu", "gelu", "gelu_tanh",
                             "hard_sigmoid", "hard_tanh", "relu6", "relu"}) {
        const elementwise::Activated<double> by{elementwise::function_of(name), 0.5, 1.0};
        cpu::activate(third, z.array, by, threads);
        cpu::activate_dgrad(gradient, third, z.array, by, threads);
        cpu::activate_dgrad(g.array, x.array, y.array, by, threads);
        cpu::activate(x.array, y.array, by, threads);
    }
    std::vector<double> right(y.array.size()), right_z(z.array.size());
    for (size_t i = 0; i < right.size(); ++i) right[i] = x.get(i) > 0 ? x.get(i) : 0;
    for (size_t i = 0; i < right_z.size(); ++i) right_z[i] = x.get(3 * i) > 0 ? g.get(3 * i) : 0;
    expect(y, right, "relu");
    expect(z, right_z, "relu's gradient");
    cpu::add_n({x.array, g.array, x.array}, y.array, threads);
    for (size_t i = 0; i < right.size(); ++i) right[i] = 2 * x.get(i) + g.get(i);
    expect(y, right, "add_n");
    cpu::binary(x.array, rows.array, y.array, elementwise::BinaryFunction::kMultiply, threads);
    for (size_t i = 0; i < right.size(); ++i) right[i] = x.get(i) * rows.get(i / 603 % 35);
    expect(y, right, "binary");
    cpu::dropout(x.array, y.array, {1, 2, 3}, 1 << 23, 2.0, threads);
    for (size_t i = 0; i < right.size(); ++i) right[i] = y.get(i) == 0 ? 0 : 2 * x.get(i);
    expect(y, right, "dropout");
}

// Numbers that follow from the words alone: their range, and the same ones at any number of threads.
void draws(DType dtype, int threads) {
    Owned u({40003}, dtype), z({40003}, dtype), again({40003}, dtype), whole({40003}, DType::kFloat64);
    const cpu::RandomState state{1, 2, ~uint64_t(0) - 5};
    cpu::uniform(u.array, state, 2, 3, threads);
    cpu::normal(z.array, state, 1, 0.5, threads);
    cpu::normal(again.array, state, 1, 0.5, 1);
    double sum = 0, outside = 0;
    std::vector<double> right(40003);
    for (int64_t i = 0; i < 40003; ++i) {
        outside += !(u.get(i) >= 2 && u.get(i) <= 5);
        sum += z.get(i);
        right[i] = z.get(i);
    }
    expect(again, right, "normal");
    whole.array.dtype = DType::kInt64;
    cpu::integers(whole.array, state, 7, 1000, threads);
    for (int64_t i = 0; i < 40003; ++i)
        outside += whole.array.as<int64_t>()[i] < 7 || whole.array.as<int64_t>()[i] > 1006;
    ++runs;
    if (outside || std::fabs(sum / 40003 - 1) > 0.02) {
        std::printf("draws: %g out of range, a mean of %g\n", outside, sum / 40003);
        ++failures;
    }
}

void steps(DType dtype, int threads) {
    const Shape shapes[] = {{}, {0, 3}, {7, 5}, {40001}};
    std::vector<Owned> owned;
    owned.reserve(64);
    const auto list = [&](DType type, unsigned seed) {
        std::vector<Array> arrays;
        for (const Shape& shape : shapes) arrays.push_back(owned.emplace_back(shape, type, seed).array);
        return arrays;
    };
    cpu::StepLists lists{list(dtype, 1), list(DType::kBFloat16, 2), list(dtype, 0), list(DType::kFloat16, 0), {}, {}};
    cpu::SgdNumbers sgd;
    sgd.rate = 1;
    cpu::sgd_step(lists, sgd, threads);
    std::vector<double> right(40001);
    for (size_t i = 0; i < right.size(); ++i) right[i] = owned[3].get(i) - owned[7].get(i);
    expect(owned[11], right, "sgd_step");
    for (int i = 0; i < 2; ++i) {
        lists.slots.push_back(list(wide(dtype), 3));
        lists.new_slots.push_back(list(wide(dtype), 0));
        if (i == 0) sgd.momentum = 0.5;
        if (i == 0) cpu::sgd_step(lists, sgd, threads);
    }
    cpu::adam_step(lists, {0.5, 0.5, 0.5, 0.5, 1e-8, 0.0, 1.0, 1.0, 0.1, 1.0, false, false, false}, threads);
    double squares = 0;
    for (size_t i = 0; i < right.size(); ++i) squares += owned[3].get(i) * owned[3].get(i);
    const double norm = cpu::global_norm({owned[3].array}, threads);
    ++runs;
    if (norm != std::sqrt(squares)) {
        std::printf("global_norm: expected %g, got %g\n", std::sqrt(squares), norm);
        ++failures;
    }
    const double divisor = 0.5;
    Owned cast({40001}, DType::kFloat64);
    cpu::cast_all({owned[3].array}, {cast.array}, &divisor, threads);
    for (size_t i = 0; i < right.size(); ++i) right[i] = 2 * owned[3].get(i);
    expect(cast, right, "cast_all");
}

void everything(int threads) {
    for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kBFloat16}) {
        for (const bool channels_last : {true, false}) {
            convolutions(dtype, channels_last, threads);
            pools(dtype, channels_last, threads);
        }
        products(dtype, threads);
        norms(dtype, threads);
        softmaxes(dtype, threads);
        reductions(dtype, threads);
        elements(dtype, threads);
        draws(dtype, threads);
        steps(dtype, threads);
    }
}

}  // namespace

int main() {
    everything(1);
    everything(4);
    // Two threads at once: one has the pool's helpers, the other works alone.
    std::thread other([] { products(DType::kFloat32, 4); });
    for (int i = 0; i < 3; ++i) pools(DType::kFloat64, true, 4);
    other.join();
    std::printf("%d results on %s, %d wrong\n", runs.load(), cpu::instruction_set().c_str(), failures.load());
    return failures != 0;
}
