// TMA: boxes of 1 to 5 dimensions, every swizzle, edges, steps, im2col of 1 to 3 spatial axes, stores, and the
// hardware's rules.
#include "checks_tma.h"

using namespace checks;

namespace {

TiledLayout small_layout(const Image& image) {
    TiledLayout l;
    l.tensor = image.view(2, image.values.data());
    l.box = {4, 2};
    return l;
}

}  // namespace

TEST(tile_1d) { check_tiled<1>(Image({40, 1, 1, 1, 1}), {16}, kOnes, Swizzle::kNone, {{28}}); }
TEST(tile_2d_swizzles) {
    const Image image({40, 20, 1, 1, 1});
    check_tiled<2>(image, {4, 16}, kOnes, Swizzle::kNone, {{36, 7}});
    check_tiled<2>(image, {8, 24}, kOnes, Swizzle::k32B, {{-3, 2}});
    check_tiled<2>(image, {16, 24}, kOnes, Swizzle::k64B, {{30, -5}});
    check_tiled<2>(image, {32, 24}, kOnes, Swizzle::k128B, {{20, 3}});
}
TEST(tile_3d) { check_tiled<3>(Image({36, 6, 5, 1, 1}), {32, 4, 3}, kOnes, Swizzle::k128B, {{8, -2, 3}}); }
TEST(tile_4d) { check_tiled<4>(Image({32, 7, 9, 3, 1}), {32, 4, 3, 2}, kOnes, Swizzle::k128B, {{0, -2, 7, 1}}); }
TEST(tile_5d) { check_tiled<5>(Image({16, 4, 5, 3, 3}), {16, 3, 2, 2, 2}, kOnes, Swizzle::k64B, {{0, 2, -1, 2, 1}}); }
TEST(tile_steps) {
    check_tiled<3>(Image({32, 12, 9, 1, 1}), {32, 7, 4, 1, 1}, {1, 2, 3, 1, 1}, Swizzle::k128B, {{0, -2, 1}});
}

TEST(tile_fill_nan) {
    const Image image({8, 4, 1, 1, 1});
    TiledLayout l = small_layout(image);
    l.fill = Fill::kNaN;
    const auto got = load<2>(l, {{6, 3}}, 8);
    testing::expect(got[0] == image.at({6, 3}) && std::isnan(got[2]) && std::isnan(got[4]), "NaN outside the tensor");
}

TEST(im2col_1d) {
    const Image image({32, 29, 1, 1, 3});
    check_all_taps<1>(image, {3, 1, 1}, 1, 1, 1, Swizzle::k128B);
    check_all_taps<1>(image, {4, 1, 1}, 3, 2, 2, Swizzle::k128B);
}
TEST(im2col_2d) {
    const Image image({32, 7, 9, 1, 3});
    check_all_taps<2>(image, {3, 3, 1}, 1, 1, 1, Swizzle::k128B);
    check_all_taps<2>(image, {3, 2, 1}, 2, 1, 1, Swizzle::k64B);
    check_all_taps<2>(image, {2, 3, 1}, 1, 2, 2, Swizzle::k32B);
}
TEST(im2col_3d) {
    const Image image({32, 5, 6, 4, 2});
    check_all_taps<3>(image, {3, 2, 3}, 1, 1, 1, Swizzle::k128B);
    check_all_taps<3>(image, {3, 3, 2}, 2, 1, 1, Swizzle::k128B);
}

TEST(im2col_edges) {
    const Image image({32, 7, 9, 1, 3}), wide({32, 19, 17, 1, 2}), narrow({20, 7, 9, 1, 3});
    check_all_taps<2>(image, {3, 3, 1}, 1, 1, 1, Swizzle::k128B, 160);  // rows go on beyond the batch
    check_all_taps<2>(image, {1, 2, 1}, 1, 1, 2, Swizzle::k128B);       // the box ends beyond the image
    for (int stride : {3, 5, 8}) check_all_taps<2>(wide, {3, 2, 1}, stride, 1, 1, Swizzle::k128B, 3);
    check_all_taps<2>(narrow, {3, 2, 1}, 2, 1, 1, Swizzle::k128B, 5, true);  // a line of 64 holds 40 channels
}

TEST(store_1d) { check_store<1>({40, 1, 1, 1, 1}, {32}, Swizzle::kNone, {{20}}); }
TEST(store_2d_swizzles) {
    check_store<2>({40, 20, 1, 1, 1}, {8, 16}, Swizzle::k32B, {{36, 9}});
    check_store<2>({40, 20, 1, 1, 1}, {16, 16}, Swizzle::k64B, {{-4, 2}});
    check_store<2>({40, 20, 1, 1, 1}, {32, 16}, Swizzle::k128B, {{4, -3}});
}
TEST(store_3d) { check_store<3>({32, 5, 4, 1, 1}, {32, 3, 2}, Swizzle::k128B, {{0, 3, 1}}); }
TEST(store_4d) { check_store<4>({16, 5, 4, 3, 1}, {16, 2, 2, 2}, Swizzle::k64B, {{0, 1, 3, -1}}); }
TEST(store_5d) { check_store<5>({16, 3, 4, 3, 2}, {16, 2, 2, 2, 2}, Swizzle::kNone, {{4, 1, 1, 2, 1}}); }

TEST(layout_rules) {
    const Image image({8, 4, 1, 1, 1});
    const auto expect_rule = [&](const std::string& rule, void (*spoil)(TiledLayout&)) {
        TiledLayout l = small_layout(image);
        spoil(l);
        testing::expect_error([&] { encode(l); }, rule);
    };
    expect_rule("rank 1 to 5, got 6", [](TiledLayout& l) { l.tensor.rank = 6; });
    expect_rule("aligned to 16 bytes",
                [](TiledLayout& l) { l.tensor.base = static_cast<const char*>(l.tensor.base) + 4; });
    expect_rule("multiples of 16 bytes", [](TiledLayout& l) { l.tensor.stride[1] = 36; });
    expect_rule("a box of 1 to 256", [](TiledLayout& l) { l.box[1] = 257; });
    expect_rule("steps of 1 to 8, got 9", [](TiledLayout& l) { l.step[1] = 9; });
    expect_rule("a multiple of 16 bytes, got 12", [](TiledLayout& l) { l.box[0] = 3; });
    expect_rule("as wide as the swizzle, got 16", [](TiledLayout& l) { l.swizzle = Swizzle::k128B; });
    Im2colLayout l;
    l.tensor = image.channels_last_view(2, image.values.data());
    l.channels = 4;
    l.pixels = 8;
    l.lower = {-129, 0, 0};
    testing::expect_error([&] { encode(l); }, "corners of -128 to 127, got -129");
    l.lower = {0, 0, 0};
    l.upper = {-4, 0, 0};
    testing::expect_error([&] { encode(l); }, "a bounding box that is not empty, got 0");
}

TEST(instruction_rules) {
    const Image image({8, 4, 1, 1, 1});
    std::vector<uint8_t> out(32);
    const LaunchShape shape{dim3(1), dim3(32), sizeof(BoxSmem)};
    const TensorMap map = encode(small_layout(image));
    testing::expect_error([&] { launch(load_box<3>, shape, nullptr, map, Position<3>{}, out.data(), 32); },
                          "3 coordinates for a tensor map of rank 2");
    testing::expect_error(
        [&] { launch(samples::load_im2col<3>, shape, nullptr, map, Position<3>{}, Position<1>{}, out.data(), 32); },
        "the tensor map is of the other mode");
}
