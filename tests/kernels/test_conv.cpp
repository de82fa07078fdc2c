// Runs every convolution kernel over problems that are longer than its ring of tiles, on arrays of exactly the bytes
// they need. The sanitizers watch this program.
#include <cmath>
#include <set>

#include "products.h"

using namespace convgpu;

namespace {

struct Case {
    const char* name;
    int64_t batch, channels, filters, groups;
    Shape size, kernel, stride, before, after, dilation;
    int multiprocessors = 132;   // the fewer there are, the larger the tiles
    int shift = 0;               // all arrays begin so many elements past an aligned address
    int64_t pixels_at_once = 0;  // pixels of one part, if the batch is cut into parts
    int arch = 80;               // 80 is without Hopper's kernels, 90 is with them
};

const Case kCases[] = {
    {"large", 2, 64, 128, 1, {11, 12}, {2, 2}, {1, 1}, {1, 0}, {0, 0}, {1, 1}, 1},
    {"large_dgrad", 1, 128, 64, 1, {11, 22}, {2, 3}, {1, 2}, {1, 1}, {0, 1}, {1, 1}, 1},
    {"same", 1, 24, 40, 1, {9, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"same_unaligned", 1, 24, 40, 1, {9, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 132, 1},
    {"stem", 2, 3, 16, 1, {14, 13}, {7, 7}, {2, 2}, {3, 3}, {3, 2}, {1, 1}},
    {"odd", 1, 5, 9, 1, {12, 11}, {3, 4}, {1, 1}, {0, 2}, {1, 0}, {1, 1}},
    {"strided", 2, 8, 16, 1, {11, 12}, {3, 3}, {2, 3}, {1, 0}, {0, 1}, {1, 1}},
    {"strided_1x1", 1, 16, 24, 1, {9, 9}, {1, 1}, {2, 2}, {0, 0}, {0, 0}, {1, 1}},
    {"dilated_strided", 1, 6, 8, 1, {17, 19}, {3, 3}, {2, 4}, {2, 3}, {1, 4}, {4, 2}},
    {"groups", 1, 24, 48, 3, {8, 9}, {3, 2}, {1, 2}, {1, 0}, {1, 1}, {1, 1}},
    {"groups_odd", 2, 6, 9, 3, {7, 8}, {2, 3}, {2, 1}, {1, 1}, {0, 1}, {1, 2}},
    {"one_axis", 3, 8, 8, 1, {70}, {5}, {3}, {2}, {2}, {2}},
    {"three_axes", 1, 8, 16, 2, {4, 5, 6}, {2, 3, 3}, {1, 2, 1}, {1, 1, 0}, {0, 1, 2}, {1, 1, 2}},
    {"more_phases_than_at_once", 1, 3, 8, 1, {21, 20}, {9, 11}, {9, 11}, {2, 0}, {0, 3}, {1, 1}},
    {"padding_beyond_filter", 1, 2, 3, 1, {3, 4}, {2, 2}, {1, 1}, {4, 4}, {4, 4}, {1, 1}},
    {"split_channels", 1, 528, 8, 1, {3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}},
    {"split_filters", 1, 8, 136, 1, {4, 5}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"split_phases", 1, 8, 136, 1, {5, 7}, {5, 4}, {2, 2}, {2, 1}, {2, 1}, {1, 1}},
    {"split_pixels", 3, 4, 8, 1, {15, 16}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
    {"parts_of_a_batch", 5, 8, 16, 1, {6, 6}, {3, 3}, {2, 1}, {1, 1}, {1, 1}, {1, 1}, 132, 0, 40},
};

// Cases for Hopper: sums that are longer than the ring, and products with several tiles for each block, or for each
// cluster of two blocks.
const Case kOnHopper[] = {
    {"wide", 1, 72, 264, 1, {12, 23}, {2, 2}, {1, 1}, {1, 0}, {0, 0}, {1, 1}, 2, 0, 0, 90},
    {"wide_dgrad", 1, 264, 72, 1, {12, 23}, {2, 2}, {1, 1}, {1, 0}, {0, 0}, {1, 1}, 2, 0, 0, 90},
    {"wide_wgrad", 1, 40, 200, 1, {10, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 2, 0, 0, 90},
    {"wide_wgrad_alone", 1, 40, 200, 1, {6, 7}, {2, 2}, {1, 1}, {0, 1}, {1, 0}, {1, 1}, 1, 0, 0, 90},
    {"wide_alone", 1, 328, 328, 1, {5, 6}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}, 2, 0, 0, 90},
    {"alone", 1, 72, 120, 1, {12, 12}, {2, 2}, {1, 1}, {1, 0}, {0, 1}, {1, 1}, 1, 0, 0, 90},
    {"phases", 1, 40, 64, 1, {5, 6}, {4, 4}, {2, 2}, {2, 2}, {2, 2}, {1, 1}, 1, 0, 0, 90},
    {"groups", 1, 128, 128, 2, {5, 6}, {2, 3}, {1, 1}, {1, 1}, {0, 1}, {1, 2}, 1, 0, 0, 90},
    {"volumes", 1, 40, 48, 1, {3, 4, 5}, {2, 2, 2}, {1, 2, 1}, {1, 0, 1}, {0, 1, 0}, {1, 1, 2}, 1, 0, 0, 90},
    {"parts_of_a_batch", 5, 40, 40, 1, {6, 6}, {3, 3}, {2, 1}, {1, 1}, {1, 1}, {1, 1}, 1, 0, 80, 90},
    {"larger_parts_of_a_batch", 5, 64, 64, 1, {11, 12}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1, 0, 270, 90},
    {"split_filters", 1, 72, 264, 1, {12, 23}, {2, 2}, {1, 1}, {1, 0}, {0, 0}, {1, 1}, 132, 0, 0, 90},
    {"split_channels", 1, 264, 72, 1, {12, 23}, {2, 2}, {1, 1}, {1, 0}, {0, 0}, {1, 1}, 132, 0, 0, 90},
    {"split_pixels", 3, 40, 40, 1, {26, 25}, {1, 2}, {1, 1}, {0, 1}, {0, 0}, {1, 1}, 132, 0, 0, 90},
};

// Cases for Hopper's packed kernel: several tiles for each block, and several steps of their depth.
const Case kPacked[] = {
    {"stem", 1, 3, 72, 1, {42, 64}, {7, 7}, {2, 2}, {3, 3}, {2, 3}, {1, 1}, 1, 0, 0, 90},
    {"stem_unaligned", 1, 3, 64, 1, {42, 64}, {7, 7}, {2, 2}, {3, 3}, {2, 3}, {1, 1}, 1, 1, 0, 90},
    {"lines_of_66_pixels", 1, 3, 64, 1, {24, 66}, {5, 5}, {2, 2}, {2, 2}, {2, 0}, {1, 1}, 1, 0, 0, 90},
    {"lines_of_odd_length", 1, 4, 64, 1, {20, 41}, {5, 5}, {1, 1}, {2, 2}, {2, 2}, {1, 1}, 1, 0, 0, 90},
    {"pixels_apart", 1, 5, 65, 1, {22, 31}, {5, 4}, {1, 1}, {2, 1}, {1, 2}, {1, 1}, 1, 0, 0, 90},
    {"pixels_apart_for_banks", 1, 16, 64, 1, {16, 32}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1, 0, 0, 90},
    {"narrow", 4, 6, 128, 1, {20, 7}, {5, 5}, {1, 1}, {2, 2}, {2, 2}, {2, 1}, 1, 0, 0, 90},
    {"one_axis", 3, 2, 64, 1, {700}, {19}, {2}, {9}, {9}, {1}, 1, 0, 0, 90},
    {"three_axes", 1, 3, 64, 1, {6, 16, 17}, {3, 3, 3}, {1, 1, 1}, {1, 1, 0}, {1, 1, 2}, {2, 1, 1}, 1, 0, 0, 90},
    {"parts_of_a_batch", 5, 3, 96, 1, {18, 33}, {5, 5}, {1, 1}, {2, 2}, {2, 2}, {1, 1}, 1, 0, 1300, 90},
};

ConvGeometry geometry_of(const Case& c) {
    ConvGeometry geo{c.batch,  c.channels, c.filters,  c.size,   c.kernel, c.stride,
                     c.before, c.after,    c.dilation, c.groups, true,     {}};
    geo.check();
    return geo;
}

std::set<std::string>& plans() {
    static std::set<std::string> seen;
    return seen;
}

void run(const Case& c, DType dtype, Precision precision) {
    emulator::config().multiprocessors = c.multiprocessors;
    emulator::config().arch = c.arch;
    const ConvGeometry geo = geometry_of(c);
    const std::string what = std::string(c.name) + " " + name_of(dtype);
    Owned x(geo.x_shape(), dtype, c.shift), w(geo.w_shape(), dtype, c.shift), g(geo.y_shape(), dtype, c.shift);
    Owned bias_y({geo.filters}, dtype), bias_x({geo.channels}, dtype), addend(geo.x_shape(), dtype, c.shift);
    const DType kept = size_of(dtype) == 2 ? DType::kFloat32 : dtype;
    Owned folded({geo.filters, 2}, kept), residual(geo.y_shape(), dtype, c.shift);
    const Owned normed(geo.y_shape(), dtype, c.shift), added(geo.y_shape(), dtype, c.shift);
    const Owned y(geo.y_shape(), dtype, c.shift), gx(geo.x_shape(), dtype, c.shift), gw(geo.w_shape(), dtype, c.shift);
    const Owned onto(geo.x_shape(), dtype, c.shift);
    const Owned sums(geo.w_shape(), kept);
    unsigned seed = 0;
    for (Owned* operand : {&x, &w, &g, &bias_y, &bias_x, &addend, &folded, &residual}) operand->fill(++seed);
    // Each image has numbers of its own size, and so a scale of its own where float32 is scaled.
    if (c.pixels_at_once) {
        for (Owned* images : {&x, &g}) {
            const int64_t count = images->array.size(), image = count / c.batch;
            for (int64_t i = 0; i < count; ++i) images->set(i, std::ldexp(images->get(i), static_cast<int>(i / image)));
        }
    }

    // Runs the plan of a direction on a workspace that has exactly the bytes it asks for.
    const auto with_plan = [&](conv::Direction direction, auto launch) {
        conv::Problem problem{direction, geo, dtype, precision};
        if (c.shift) problem.alignment = static_cast<int>(size_of(dtype));
        if (c.pixels_at_once) problem.pixels_at_once = c.pixels_at_once;
        const conv::Plan plan = conv::plan(problem, current_device(), kWorkspaceLimit);
        plans().insert(plan.text());
        const Owned workspace({static_cast<int64_t>(plan.workspace)}, DType::kUInt8);
        launch(plan, Workspace{workspace.array.data, plan.workspace});
    };
    constexpr Activation kRelu = Activation::kRelu;
    with_plan(conv::Direction::kFprop, [&](const conv::Plan& plan, const Workspace& workspace) {
        conv::conv_fprop(x.array, w.array, &bias_y.array, y.array, geo, plan, kRelu, workspace, nullptr);
        conv::conv_norm(x.array, w.array, folded.array, nullptr, normed.array, geo, plan, Activation::kRelu6, workspace,
                        nullptr);
        conv::conv_norm(x.array, w.array, folded.array, &residual.array, added.array, geo, plan, Activation::kSilu,
                        workspace, nullptr);
    });
    with_plan(conv::Direction::kDgrad, [&](const conv::Plan& plan, const Workspace& workspace) {
        conv::conv_dgrad(g.array, w.array, &bias_x.array, gx.array, geo, plan, kRelu, workspace, nullptr);
        conv::conv_dgrad(g.array, w.array, &addend.array, onto.array, geo, plan, Activation::kNone, workspace, nullptr);
    });
    with_plan(conv::Direction::kWgrad, [&](const conv::Plan& plan, const Workspace& workspace) {
        conv::conv_wgrad(x.array, g.array, gw.array, geo, plan, workspace, nullptr);
        conv::run(plan, {x.array, sums.array, nullptr, g.array}, Activation::kNone, workspace, nullptr);
    });

    const auto size = [](const Owned& owned) { return static_cast<size_t>(owned.array.size()); };
    std::vector<double> of_y(size(y)), of_x(size(gx)), of_w(size(gw)), of_onto(size(gx));
    const std::vector<double> xs = values_of(x), ws = values_of(w), gs = values_of(g);
    each_product(geo, [x = xs.data(), w = ws.data(), g = gs.data(), y = of_y.data(), gx = of_x.data(),
                       gw = of_w.data()](int64_t in, int64_t filter, int64_t out) NOT_WATCHED {
        y[out] += x[in] * w[filter];
        gx[in] += g[out] * w[filter];
        gw[filter] += x[in] * g[out];
    });
    std::vector<double> of_normed(size(y)), of_added(size(y));
    for (size_t i = 0; i < of_y.size(); ++i) {
        const auto k = static_cast<int64_t>(i % static_cast<size_t>(geo.filters));
        const double v = of_y[i] * folded.get(2 * k) + folded.get(2 * k + 1);
        const double sum = v + residual.get(static_cast<int64_t>(i));
        of_normed[i] = std::min(std::max(v, 0.0), 6.0);
        of_added[i] = sum / (1 + std::exp(-sum));
        of_y[i] = std::max(of_y[i] + bias_y.get(k), 0.0);
    }
    for (size_t i = 0; i < of_x.size(); ++i) of_onto[i] = of_x[i] + addend.get(static_cast<int64_t>(i));
    for (size_t i = 0; i < of_x.size(); ++i) of_x[i] = std::max(of_x[i] + bias_x.get(i % geo.channels), 0.0);
    compare(y, of_y, rounding_of(dtype), what + " fprop");
    compare(normed, of_normed, rounding_of(dtype), what + " fprop, normalised");
    // silu rounds its exponential, a sum and a quotient
    const double of_silu = dtype == DType::kFloat64   ? 4.0 / (int64_t(1) << 53)
                           : dtype == DType::kFloat32 ? 4 * rounding_of(dtype)
                                                      : rounding_of(dtype);
    compare(added, of_added, of_silu, what + " fprop, normalised and added");
    compare(gx, of_x, rounding_of(dtype), what + " dgrad");
    compare(onto, of_onto, rounding_of(dtype), what + " dgrad onto an addend");
    compare(sums, of_w, rounding_of(DType::kFloat32), what + " wgrad, unrounded");
    if (!c.pixels_at_once) compare(gw, of_w, rounding_of(dtype), what + " wgrad");  // else gw is rounded in parts
}

bool reached(const std::string& part, const std::string& other) {
    for (const std::string& plan : plans()) {
        if (plan.find(part) != std::string::npos && plan.find(other) != std::string::npos) return true;
    }
    return false;
}

}  // namespace

TEST(convolutions_over_a_table_of_geometries) {
    constexpr Precision kFull = Precision::kFloat32;
    const std::pair<DType, Precision> engines[] = {{DType::kFloat32, kFull},
                                                   {DType::kFloat64, kFull},
                                                   {DType::kFloat32, Precision::kTf32},
                                                   {DType::kFloat16, kFull},
                                                   {DType::kBFloat16, kFull}};
    for (const auto& [dtype, precision] : engines) {
        plans().clear();
        for (const Case& c : kCases) in_turn([&, dtype = dtype, precision = precision] { run(c, dtype, precision); });
        for (const std::string kernel : {"conv_fprop_tiled", "conv_dgrad_tiled", "conv_wgrad_tiled"}) {
            for (const std::string tile : {"tile=128 vectors=both", "tile=64 vectors=both", "tile=64 vectors=b ",
                                           "tile=64 vectors=none", "splits=2"}) {
                if (dtype == DType::kFloat64 && tile.find("128") != std::string::npos) continue;
                if (kernel == "conv_dgrad_tiled" && tile.find("=b ") != std::string::npos) continue;
                testing::expect(reached(kernel, tile), "no problem of " + kernel + " with " + tile);
            }
        }
    }
}

TEST(convolutions_on_hopper) {
    plans().clear();
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
        for (const Case& c : kOnHopper) in_turn([&, dtype = dtype] { run(c, dtype, Precision::kFloat32); });
    }
    for (const std::string kernel : {"conv_fprop_wgmma", "conv_dgrad_wgmma", "conv_wgrad_wgmma"}) {
        for (const std::string tile :
             {"128x256 stages=4 cluster=2", "128x256 stages=4 cluster=1", "128x128 stages=6 cluster=2",
              "128x128 stages=6 cluster=1", "128x64 stages=8 cluster=1 splits=1"}) {
            testing::expect(reached(kernel, "tile=" + tile), "no problem of " + kernel + " with " + tile);
        }
    }
    // Runs float32 as pairs, and as TF32, where there is enough to multiply.
    for (const Precision precision : {Precision::kFloat32, Precision::kTf32}) {
        for (const Case& c : kOnHopper) {
            if (c.multiprocessors <= 2) in_turn([&] { run(c, DType::kFloat32, precision); });
        }
    }
    for (const std::string kernel : {"conv_fprop_wgmma", "conv_dgrad_wgmma", "conv_wgrad_wgmma"}) {
        testing::expect(reached(kernel, "float16_pairs"), "no pairs in " + kernel);
    }
    for (const std::string split : {"conv_fprop_wgmma tile=128x64 stages=8 cluster=1 splits=5",
                                    "conv_dgrad_wgmma tile=128x64 stages=8 cluster=1 splits=5",
                                    "conv_wgrad_wgmma tile=128x64 stages=8 cluster=1 splits=7"}) {
        testing::expect(reached(split, ""), "no problem with " + split);
    }
}

TEST(convolutions_packed_on_hopper) {
    plans().clear();
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
        for (const Case& c : kPacked) in_turn([&, dtype = dtype] { run(c, dtype, Precision::kFloat32); });
    }
    for (const std::string tile : {"tile=1x128x64", "tile=4x32x", "tile=8x16x", "tile=16x8x128"}) {
        testing::expect(reached("conv_fprop_packed " + tile, ""), "no problem of conv_fprop_packed with " + tile);
    }
    for (const std::string copies : {"copies=2 ", "copies=4 ", "copies=8 ", "copies=16 "}) {
        testing::expect(reached("conv_fprop_packed", copies), "no problem of conv_fprop_packed with " + copies);
    }
}
