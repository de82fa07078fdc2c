// Runs every pooling kernel over a table of geometries, on arrays of exactly the bytes they need. The sanitizers watch
// this program.
#include <algorithm>
#include <cmath>

#include "../../csrc/pool/pool.h"
#include "owned.h"

using namespace convgpu;

namespace {

struct Case {
    const char* name;
    int64_t batch, channels;
    Shape size, window, stride, before, after, dilation;
    Shape adaptive;  // the output, if it is given instead of a window
};

const Case kCases[] = {
    {"lenet", 2, 6, {8, 8}, {2, 2}, {2, 2}, {0, 0}, {0, 0}, {1, 1}, {}},
    {"overlapping", 1, 16, {9, 10}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, {}},
    {"vectors_of_eight", 1, 40, {5, 6}, {2, 2}, {2, 2}, {0, 1}, {1, 0}, {1, 1}, {}},
    {"disjoint_with_rest", 2, 3, {7, 11}, {3, 2}, {3, 2}, {1, 0}, {0, 1}, {1, 1}, {}},
    {"one_axis", 3, 5, {17}, {4}, {3}, {1}, {3}, {1}, {}},
    {"three_axes", 1, 8, {4, 5, 6}, {2, 3, 3}, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {}},
    {"flat_in_three", 1, 4, {3, 6, 6}, {1, 3, 3}, {2, 2, 2}, {0, 1, 1}, {0, 1, 1}, {1, 1, 1}, {}},
    {"dilated", 2, 3, {11, 12}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {2, 3}, {}},
    {"gaps", 2, 3, {11, 12}, {2, 2}, {3, 5}, {0, 0}, {0, 0}, {1, 1}, {}},
    {"large", 1, 8, {19, 18}, {17, 17}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, {}},
    {"large_one_channel", 3, 1, {20, 21}, {20, 20}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, {}},
    {"long", 1, 2, {3000}, {1000}, {700}, {5}, {6}, {1}, {}},
    {"global", 2, 16, {8, 8}, {8, 8}, {8, 8}, {0, 0}, {0, 0}, {1, 1}, {}},
    {"adaptive", 2, 4, {7, 10}, {4, 4}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, {3, 4}},
    {"adaptive_upward", 1, 3, {3, 4}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, {5, 7}},
    {"no_images", 0, 3, {6, 6}, {2, 2}, {2, 2}, {0, 0}, {0, 0}, {1, 1}, {}},
};

PoolGeometry geometry_of(const Case& c, bool channels_last) {
    PoolGeometry geo{c.batch,    c.channels,          c.size, c.window,     c.stride, c.before, c.after, c.dilation,
                     c.adaptive, !c.adaptive.empty(), false,  channels_last};
    for (size_t a = 0; c.adaptive.empty() && a < c.size.size(); ++a) {
        geo.output.push_back(output_size(c.size[a], c.window[a], c.stride[a], c.dilation[a], c.before[a], c.after[a]));
    }
    return geo;
}

// Calls use(output element, x element, offset in the window, flat pixel) for every tap inside the input.
template <class Use>
void each_tap(const PoolGeometry& geo, Use use) {
    const int rank = geo.rank();
    const auto product = [](const Shape& s) {
        int64_t p = 1;
        for (const int64_t n : s) p *= n;
        return p;
    };
    const int64_t outputs = product(geo.output), pixels = product(geo.size), taps = product(geo.window);
    for (int64_t n = 0; n < geo.batch * geo.channels * outputs; ++n) {
        const int64_t image = n / (geo.channels * outputs), channel = n / outputs % geo.channels, out = n % outputs;
        for (int64_t tap = 0; tap < taps; ++tap) {
            int64_t pixel = 0, scale = 1, o = out, i = tap;
            bool inside = true;
            for (int a = rank - 1; a >= 0; --a) {
                const int64_t oa = o % geo.output[a], ia = i % geo.window[a];
                const int64_t from =
                    geo.adaptive ? oa * geo.size[a] / geo.output[a] : oa * geo.stride[a] - geo.before[a];
                const int64_t to =
                    geo.adaptive ? ((oa + 1) * geo.size[a] + geo.output[a] - 1) / geo.output[a] : geo.size[a];
                const int64_t at = from + ia * geo.dilation[a];
                inside = inside && at >= 0 && at < to;
                pixel += at * scale;
                scale *= geo.size[a];
                o /= geo.output[a];
                i /= geo.window[a];
            }
            if (!inside) continue;
            const auto place = [&](int64_t p, int64_t count) {
                return geo.channels_last ? (image * count + p) * geo.channels + channel
                                         : (image * geo.channels + channel) * count + p;
            };
            use(place(out, outputs), place(pixel, pixels), tap, pixel);
        }
    }
}

void run(const Case& c, DType dtype, bool channels_last) {
    const PoolGeometry geo = geometry_of(c, channels_last);
    const std::string what = std::string(c.name) + " " + name_of(dtype) + (channels_last ? " last" : " first");
    Owned x(geo.x_shape(), dtype), y(geo.y_shape(), dtype), offsets(geo.y_shape(), geo.offset_dtype());
    Owned gy(geo.y_shape(), dtype), gx(geo.x_shape(), dtype), z(geo.y_shape(), dtype);
    Owned indices(geo.y_shape(), DType::kInt64), average(geo.y_shape(), dtype), shares(geo.x_shape(), dtype);
    x.fill(1);
    gy.fill(2);
    const auto plan = [&](pool::Op op) {
        return pool::plan(op, geo, op == pool::Op::kMaxPoolIndices ? DType::kInt64 : dtype, 16);
    };
    pool::max_pool(x.array, y.array, &offsets.array, geo, plan(pool::Op::kMaxPool), nullptr);
    pool::max_pool_dgrad(gy.array, offsets.array, gx.array, geo, plan(pool::Op::kMaxPoolDgrad), nullptr);
    pool::max_pool_gather(x.array, offsets.array, z.array, geo, plan(pool::Op::kMaxPoolGather), nullptr);
    pool::max_pool_indices(offsets.array, indices.array, geo, plan(pool::Op::kMaxPoolIndices), nullptr);
    pool::avg_pool(x.array, average.array, geo, plan(pool::Op::kAvgPool), nullptr);
    pool::avg_pool_dgrad(gy.array, shares.array, geo, plan(pool::Op::kAvgPoolDgrad), nullptr);

    const auto outputs = static_cast<size_t>(y.array.size()), pixels = static_cast<size_t>(x.array.size());
    std::vector<double> best(outputs, -INFINITY), offset(outputs), pixel(outputs), sum(outputs), count(outputs);
    std::vector<int64_t> winner(outputs);
    each_tap(geo, [&](int64_t out, int64_t in, int64_t tap, int64_t p) {
        sum[out] += x.get(in);
        count[out] += 1;
        if (x.get(in) <= best[out]) return;
        best[out] = x.get(in);
        offset[out] = static_cast<double>(tap);
        pixel[out] = static_cast<double>(p);
        winner[out] = in;
    });
    std::vector<double> won(pixels), shared(pixels);
    for (size_t out = 0; out < outputs; ++out) won[winner[out]] += gy.get(out), sum[out] /= count[out];
    each_tap(geo, [&](int64_t out, int64_t in, int64_t, int64_t) { shared[in] += gy.get(out) / count[out]; });

    const double rounding = std::max(2 * rounding_of(dtype), 1e-6);
    compare(y, best, 0, what + " max_pool");
    compare(offsets, offset, 0, what + " offsets");
    compare(gx, won, 0, what + " max_pool_dgrad");
    compare(z, best, 0, what + " max_pool_gather");
    compare(indices, pixel, 0, what + " max_pool_indices");
    compare(average, sum, rounding, what + " avg_pool");
    compare(shares, shared, 4 * rounding, what + " avg_pool_dgrad");
}

bool is_plain(const PoolGeometry& geo) {
    return !geo.adaptive && std::all_of(geo.dilation.begin(), geo.dilation.end(), [](int64_t d) { return d == 1; });
}

// Runs the norms of windows that are neither adaptive nor dilated, and the two sums of which their gradients consist.
void run_norms(const Case& c, DType dtype, bool channels_last, double p) {
    const PoolGeometry geo = geometry_of(c, channels_last);
    const std::string what = std::string(c.name) + " " + name_of(dtype) + (channels_last ? " last" : " first");
    Owned x(geo.x_shape(), dtype), y(geo.y_shape(), dtype), gy(geo.y_shape(), dtype), gx(geo.x_shape(), dtype);
    Owned v(geo.x_shape(), dtype), z(geo.y_shape(), dtype);
    x.fill(1);
    gy.fill(2);
    v.fill(3);
    const auto plan = [&](pool::Op op) { return pool::plan(op, geo, dtype, 16); };
    pool::lp_pool(x.array, y.array, geo, plan(pool::Op::kLpPool), p, nullptr);
    pool::lp_pool_dgrad(gy.array, x.array, y.array, gx.array, geo, plan(pool::Op::kLpPoolDgrad), p - 1, true, nullptr);
    pool::lp_pool_gather(v.array, x.array, y.array, z.array, geo, plan(pool::Op::kLpPoolGather), p - 1, true, nullptr);

    std::vector<double> norm(y.array.size()), spread(x.array.size()), along(y.array.size());
    std::vector<double> of_spread(x.array.size()), of_along(y.array.size());  // the same sums of absolute values
    each_tap(geo, [&](int64_t out, int64_t in, int64_t, int64_t) { norm[out] += std::pow(std::abs(x.get(in)), p); });
    for (double& n : norm) n = std::pow(n, 1 / p);
    each_tap(geo, [&](int64_t out, int64_t in, int64_t, int64_t) {
        const double whole = y.get(out), sign = x.get(in) < 0 ? -1 : x.get(in) > 0;
        const double slope = whole == 0 ? 0 : std::pow(std::abs(x.get(in)) / whole, p - 1);
        spread[in] += gy.get(out) * sign * slope;
        of_spread[in] += std::abs(gy.get(out)) * slope;
        along[out] += v.get(in) * sign * slope;
        of_along[out] += std::abs(v.get(in)) * slope;
    });
    const double rounding = std::max(2 * rounding_of(dtype), 1e-6);
    const auto close = [&](const Owned& got, const std::vector<double>& expected, const std::vector<double>& size,
                           const std::string& op) {
        for (int64_t i = 0; i < got.array.size(); ++i) {
            if (std::abs(got.get(i) - expected[i]) <= 4 * rounding * size[i]) continue;
            throw std::runtime_error(what + " " + op + ": expected " + std::to_string(expected[i]) + " at " +
                                     std::to_string(i) + ", got " + std::to_string(got.get(i)));
        }
    };
    close(y, norm, norm, "lp_pool");
    close(gx, spread, of_spread, "lp_pool_dgrad");
    close(z, along, of_along, "lp_pool_gather");
}

}  // namespace

TEST(pooling_over_a_table_of_geometries) {
    for (const Case& c : kCases) {
        for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
            for (const bool channels_last : {true, false}) in_turn([&] { run(c, dtype, channels_last); });
        }
    }
}

TEST(norms_over_the_plain_geometries) {
    for (const Case& c : kCases) {
        if (!is_plain(geometry_of(c, true))) continue;
        for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
            for (const bool channels_last : {true, false}) {
                in_turn([&] { run_norms(c, dtype, channels_last, channels_last ? 2 : 3.5); });
            }
        }
    }
}
