// Runs every depthwise kernel, the launchers of convolution in both data formats, and the bias gradient, on arrays of
// exactly the bytes they need. The sanitizers watch this program.
#include <cstring>
#include <set>

#include "../../csrc/common/counters.h"
#include "products.h"

using namespace convgpu;

namespace {

struct Case {
    const char* name;
    int64_t batch, channels, multiplier;
    Shape size, kernel, stride, before, after, dilation;
    int shift = 0;                   // all arrays begin so many elements past an aligned address
    size_t limit = size_t(1) << 20;  // bytes of workspace
    int64_t groups = 0;              // 0 means depthwise
};

const Case kCases[] = {
    {"3x3", 2, 8, 1, {6, 11}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"3x3_many_channels", 1, 40, 1, {4, 9}, {3, 3}, {1, 1}, {1, 0}, {0, 1}, {1, 1}},
    {"3x3_strided", 1, 24, 1, {7, 10}, {3, 3}, {2, 2}, {1, 1}, {1, 0}, {1, 1}},
    {"3x3_unaligned", 1, 8, 1, {5, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},
    {"5x5", 1, 8, 1, {6, 9}, {5, 5}, {1, 1}, {2, 2}, {2, 2}, {1, 1}},
    {"5x5_strided", 1, 8, 1, {9, 17}, {5, 5}, {1, 2}, {2, 2}, {2, 2}, {1, 1}},
    {"7x7", 1, 8, 1, {8, 9}, {7, 7}, {1, 1}, {3, 3}, {3, 3}, {1, 1}},
    {"9x10", 1, 8, 1, {10, 17}, {9, 10}, {1, 1}, {0, 4}, {0, 5}, {1, 1}},
    {"5x6_strided", 1, 8, 1, {9, 17}, {5, 6}, {1, 2}, {2, 2}, {2, 3}, {1, 1}},
    {"padding_beyond", 1, 8, 1, {3, 5}, {2, 3}, {1, 1}, {4, 4}, {4, 4}, {1, 1}},
    {"dilated", 1, 8, 1, {9, 10}, {3, 2}, {1, 3}, {2, 1}, {1, 2}, {2, 3}},
    {"odd_channels", 2, 5, 1, {6, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"odd_channels_wide", 1, 3, 1, {3, 12}, {2, 6}, {1, 1}, {0, 2}, {1, 3}, {1, 1}},
    {"multiplier", 1, 4, 3, {6, 7}, {3, 3}, {2, 1}, {1, 0}, {1, 2}, {1, 2}},
    {"one_axis", 3, 16, 1, {23}, {3}, {2}, {2}, {1}, {1}},
    {"three_axes", 1, 8, 1, {3, 4, 9}, {2, 3, 3}, {1, 2, 1}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {"many_pixels", 3, 8, 1, {17, 70}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"no_workspace", 3, 8, 1, {17, 30}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 0, 0},
    {"dense_chunks", 5, 6, 2, {5, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 0, 9000, 2},
    {"dense_one_by_one", 3, 6, 1, {5, 6}, {2, 2}, {1, 1}, {1, 0}, {0, 1}, {1, 1}, 0, 0, 1},
    {"no_images", 0, 8, 1, {5, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"no_pixels", 2, 8, 1, {0, 6}, {3, 3}, {1, 1}, {2, 1}, {2, 1}, {1, 1}},
};

// Counters, which are 0 before and after each call.
Owned& zeros() {
    static Owned counters = [] {
        Owned made({kCounters}, DType::kInt32);
        std::memset(made.array.data, 0, static_cast<size_t>(kCounters) * 4);
        return made;
    }();
    return counters;
}

ConvGeometry geometry_of(const Case& c, bool channels_last) {
    ConvGeometry geo{c.batch, c.channels, c.channels * c.multiplier,        c.size,        c.kernel, c.stride, c.before,
                     c.after, c.dilation, c.groups ? c.groups : c.channels, channels_last, {}};
    geo.check();
    return geo;
}

// Returns where element i of a channels_last array (images or filters) stands in channels_first.
int64_t image_of(const Shape& last, int64_t i, bool channels_last) {
    int64_t pixels = 1;
    for (size_t a = 1; a + 1 < last.size(); ++a) pixels *= last[a];
    const int64_t c = i % last.back(), pixel = i / last.back() % pixels, n = i / last.back() / pixels;
    return channels_last ? i : (n * last.back() + c) * pixels + pixel;
}
int64_t filter_of(const ConvGeometry& last, int64_t i, bool channels_last) {
    const int64_t channels = last.channels / last.groups, k = i % last.filters, c = i / last.filters % channels;
    const int64_t tap = i / last.filters / channels;
    return channels_last ? i : (k * channels + c) * last.taps() + tap;
}

std::set<std::string>& kernels() {
    static std::set<std::string> seen;
    return seen;
}

void run(const Case& c, DType dtype, bool channels_last) {
    const ConvGeometry geo = geometry_of(c, channels_last), last = geometry_of(c, true);
    constexpr Activation kRelu = Activation::kRelu;
    const int alignment = c.shift ? static_cast<int>(size_of(dtype)) : conv::kFullAlignment;
    const std::string what = std::string(c.name) + " " + name_of(dtype) + (channels_last ? " last" : " first");
    Owned x(geo.x_shape(), dtype, c.shift), w(geo.w_shape(), dtype, c.shift), g(geo.y_shape(), dtype, c.shift);
    Owned bias_y({geo.filters}, dtype), bias_x({geo.channels}, dtype);
    const Owned y(geo.y_shape(), dtype, c.shift), gx(geo.x_shape(), dtype, c.shift), gw(geo.w_shape(), dtype, c.shift);
    const Owned gb({geo.filters}, dtype), onto(geo.x_shape(), dtype, c.shift), normed(geo.y_shape(), dtype, c.shift);
    Owned addend(geo.x_shape(), dtype, c.shift), residual(geo.y_shape(), dtype, c.shift);
    Owned folded({geo.filters, 2}, size_of(dtype) == 2 ? DType::kFloat32 : dtype);
    unsigned seed = 0;
    for (Owned* operand : {&x, &w, &g, &bias_y, &bias_x, &addend, &residual, &folded}) operand->fill(++seed);

    // Runs a plan on a workspace that has exactly the bytes it asks for.
    const auto lend = [&](const auto& plan, auto launch) {
        const std::string text = plan.text();
        kernels().insert(text.substr(0, std::min(text.find(" parts"), text.find(" workspace"))));
        const Owned workspace({static_cast<int64_t>(plan.workspace)}, DType::kUInt8);
        launch(plan, Workspace{workspace.array.data, plan.workspace});
    };
    const auto planned = [&](conv::Direction direction) {
        return conv::plan({direction, geo, dtype, Precision::kFloat32, alignment}, current_device(), c.limit);
    };
    lend(planned(conv::Direction::kFprop), [&](const conv::Plan& plan, const Workspace& workspace) {
        conv::conv_fprop(x.array, w.array, &bias_y.array, y.array, geo, plan, kRelu, workspace, nullptr);
        if (!channels_last) return;
        conv::conv_norm(x.array, w.array, folded.array, &residual.array, normed.array, geo, plan, Activation::kRelu6,
                        workspace, nullptr);
    });
    lend(planned(conv::Direction::kDgrad), [&](const conv::Plan& plan, const Workspace& workspace) {
        conv::conv_dgrad(g.array, w.array, &bias_x.array, gx.array, geo, plan, kRelu, workspace, nullptr);
        if (!channels_last) return;
        conv::conv_dgrad(g.array, w.array, &addend.array, onto.array, geo, plan, Activation::kNone, workspace, nullptr);
    });
    lend(planned(conv::Direction::kWgrad), [&](const conv::Plan& plan, const Workspace& workspace) {
        conv::conv_wgrad(x.array, g.array, gw.array, geo, plan, workspace, nullptr);
    });
    lend(conv::plan_channel_sum(g.array.shape, channels_last, dtype, alignment, current_device(), c.limit),
         [&](const conv::ChannelSumPlan& plan, const Workspace& workspace) {
             conv::channel_sum(g.array, gb.array, zeros().array, plan, workspace, nullptr);
         });

    const auto size = [](const Owned& owned) { return static_cast<size_t>(owned.array.size()); };
    std::vector<double> of_y(size(y)), of_x(size(gx)), of_w(size(gw)), of_b(size(gb));
    const std::vector<double> xs = values_of(x), ws = values_of(w), gs = values_of(g);
    each_product(last, [&](int64_t in, int64_t filter, int64_t out) {
        in = image_of(last.x_shape(), in, channels_last);
        out = image_of(last.y_shape(), out, channels_last);
        filter = filter_of(last, filter, channels_last);
        of_y[out] += xs[in] * ws[filter];
        of_x[in] += gs[out] * ws[filter];
        of_w[filter] += xs[in] * gs[out];
    });
    std::vector<double> of_normed(size(y)), of_onto(size(gx));
    for (size_t i = 0; i < of_y.size() && channels_last; ++i) {
        const int64_t k = static_cast<int64_t>(i) % geo.filters;
        const double v = of_y[i] * folded.get(2 * k) + folded.get(2 * k + 1) + residual.get(static_cast<int64_t>(i));
        of_normed[i] = std::min(std::max(v, 0.0), 6.0);
    }
    for (size_t i = 0; i < of_x.size(); ++i) of_onto[i] = of_x[i] + addend.get(static_cast<int64_t>(i));
    for (size_t i = 0; i < of_y.size(); ++i) {
        const int64_t at = image_of(last.y_shape(), static_cast<int64_t>(i), channels_last);
        of_y[at] = std::max(of_y[at] + bias_y.get(i % geo.filters), 0.0);
        of_b[i % geo.filters] += gs[at];
    }
    for (size_t i = 0; i < of_x.size(); ++i) {
        const int64_t at = image_of(last.x_shape(), static_cast<int64_t>(i), channels_last);
        of_x[at] = std::max(of_x[at] + bias_x.get(i % geo.channels), 0.0);
    }
    compare(y, of_y, rounding_of(dtype), what + " fprop");
    if (channels_last) compare(normed, of_normed, rounding_of(dtype), what + " fprop, normalised");
    if (channels_last) compare(onto, of_onto, rounding_of(dtype), what + " dgrad onto an addend");
    compare(gx, of_x, rounding_of(dtype), what + " dgrad");
    compare(gw, of_w, rounding_of(dtype), what + " wgrad");
    compare(gb, of_b, rounding_of(dtype), what + " channel_sum");
}

}  // namespace

// Parts in one lane and in many, in channels that are no multiple of a block's, on all orders of blocks.
TEST(bias_gradients_whose_parts_are_added_by_the_last_blocks) {
    const struct {
        Shape shape;
        bool channels_last;
        int64_t parts;
    } sums[] = {{{150000, 4}, true, 36}, {{37000, 16}, true, 36}, {{9000, 301}, true, 70}, {{2, 1, 340000}, false, 41}};
    for (const auto& s : sums) {
        Owned gy(s.shape, DType::kFloat32), gb({s.shape[1]}, DType::kFloat32);
        gy.fill(1);
        const conv::ChannelSumPlan plan =
            conv::plan_channel_sum(s.shape, s.channels_last, DType::kFloat32, 16, current_device(), size_t(1) << 20);
        if (plan.parts < s.parts) throw std::runtime_error("too few parts: " + plan.text());
        const Owned workspace({static_cast<int64_t>(plan.workspace)}, DType::kUInt8);
        conv::channel_sum(gy.array, gb.array, zeros().array, plan, {workspace.array.data, plan.workspace}, nullptr);
        std::vector<double> expected(static_cast<size_t>(s.shape[1]));
        const std::vector<double> values = values_of(gy);
        const int64_t inner = s.channels_last ? 1 : s.shape[2];
        for (size_t i = 0; i < values.size(); ++i) expected[static_cast<int64_t>(i) / inner % s.shape[1]] += values[i];
        compare(gb, expected, rounding_of(DType::kFloat32), plan.text());
        for (int64_t i = 0; i < kCounters; ++i) {
            if (zeros().get(i) != 0) throw std::runtime_error(plan.text() + ": a counter is not 0 after the call");
        }
    }
}

TEST(depthwise_convolutions_over_a_table_of_geometries) {
    for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
        kernels().clear();
        for (const Case& c : kCases) {
            for (const bool channels_last : {true, false}) in_turn([&] { run(c, dtype, channels_last); });
        }
        const std::string vector = "vector=" + std::to_string(16 / size_of(dtype));
        for (const std::string op : {"conv_fprop", "conv_dgrad"}) {
            for (const char* window : {"taps=3 stride=1", "taps=3 stride=2", "taps=5 stride=1", "taps=7 stride=1",
                                       "taps=4 stride=1", "taps=4 stride=2"}) {
                const std::string kernel = op + "_depthwise_window " + vector + " " + window;
                testing::expect(kernels().count(kernel) > 0, "no problem of " + kernel);
            }
            for (const std::string kernel :
                 {"_depthwise_window vector=1 taps=3 stride=1", "_depthwise_window vector=1 taps=4 stride=1",
                  "_depthwise_any vector=1 taps=0 stride=0"}) {
                testing::expect(kernels().count(op + kernel) > 0, "no problem of " + op + kernel);
            }
        }
        for (const char* owned :
             {"taps=3 stride=1 rows=3", "taps=3 stride=2 rows=3", "taps=4 stride=1 rows=1", "taps=4 stride=2 rows=1",
              "taps=5 stride=1 rows=1", "taps=5 stride=2 rows=1", "taps=1 stride=0 rows=1"}) {
            const std::string kernel = "conv_wgrad_depthwise " + vector + " " + owned;
            testing::expect(kernels().count(kernel) > 0, "no problem of " + kernel);
        }
    }
}
