// Runs every layout kernel over matrices around the size of its tile, on arrays of exactly the bytes they need. The
// sanitizers watch this program.
#include "../../csrc/layout/layout.h"
#include "owned.h"

using namespace convgpu;

namespace {

template <class T>
void run(int64_t n, int64_t c, int64_t pixels, DType dtype) {
    const Owned first({n, c, pixels}, dtype), last({n, pixels, c}, dtype), again({n, c, pixels}, dtype);
    const Owned filters({pixels, c, n}, dtype);
    const T *x = first.array.as<T>(), *y = last.array.as<T>(), *w = filters.array.as<T>();
    const auto bytes = static_cast<size_t>(n * c * pixels) * sizeof(T);
    for (int64_t i = 0; i < n * c * pixels; ++i) first.array.as<T>()[i] = static_cast<T>(i * 2654435761u);
    const auto same_again = [&](const char* what) {
        testing::expect(std::memcmp(x, again.array.data, bytes) == 0, what);
        std::memset(again.array.data, 0xff, bytes);
    };
    const auto plan = [dtype](layout::Op op, const Owned& x) { return layout::plan(op, x.array.shape, dtype, 16); };
    layout::nchw_to_nhwc(first.array, last.array, plan(layout::Op::kNchwToNhwc, first), nullptr);
    layout::nhwc_to_nchw(last.array, again.array, plan(layout::Op::kNhwcToNchw, last), nullptr);
    same_again("nhwc_to_nchw");
    layout::oihw_to_hwio(first.array, filters.array, plan(layout::Op::kOihwToHwio, first), nullptr);
    layout::hwio_to_oihw(filters.array, again.array, plan(layout::Op::kHwioToOihw, filters), nullptr);
    same_again("hwio_to_oihw");
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < c; ++j) {
            for (int64_t p = 0; p < pixels; ++p) {
                const T value = x[(i * c + j) * pixels + p];
                testing::expect_equal(y[(i * pixels + p) * c + j], value, "nchw_to_nhwc");
                testing::expect_equal(w[(p * c + j) * n + i], value, "oihw_to_hwio");
            }
        }
    }
}

}  // namespace

TEST(layouts_of_matrices_around_the_tile) {
    const int64_t sizes[][3] = {{1, 3, 70}, {2, 64, 64}, {1, 65, 63}, {2, 17, 130}, {64, 2, 9}, {65, 17, 3}, {1, 1, 1}};
    for (const auto& size : sizes) {
        const int64_t n = size[0], c = size[1], pixels = size[2];
        in_turn([&] { run<uint8_t>(n, c, pixels, DType::kUInt8); });
        in_turn([&] { run<uint16_t>(n, c, pixels, DType::kBFloat16); });
        in_turn([&] { run<uint32_t>(n, c, pixels, DType::kFloat32); });
        in_turn([&] { run<uint64_t>(n, c, pixels, DType::kFloat64); });
    }
}
