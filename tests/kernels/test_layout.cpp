// Every layout kernel over matrices around its tile, on arrays of exactly the bytes they need: for the sanitizers.
#include <memory>

#include "../../csrc/layout/layout.h"
#include "../emulator/testing.h"

using namespace convgpu;

namespace {

Array array_over(void* data, Shape shape, DType dtype) {
    Array array{data, std::move(shape), {}, dtype};
    auto step = static_cast<int64_t>(size_of(dtype));
    array.strides.resize(array.shape.size());
    for (size_t a = array.shape.size(); a-- > 0; step *= array.shape[a]) array.strides[a] = step;
    return array;
}

template <class T>
void run(int64_t n, int64_t c, int64_t pixels, DType dtype) {
    const auto count = static_cast<size_t>(n * c * pixels);
    std::unique_ptr<T[]> x(new T[count]), y(new T[count]), back(new T[count]);
    for (size_t i = 0; i < count; ++i) x[i] = static_cast<T>(i * 2654435761u);
    const Array first = array_over(x.get(), {n, c, pixels}, dtype), last = array_over(y.get(), {n, pixels, c}, dtype);
    const Array again = array_over(back.get(), {n, c, pixels}, dtype);
    layout::nchw_to_nhwc(first, last, nullptr);
    layout::nhwc_to_nchw(last, again, nullptr);
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < c; ++j) {
            for (int64_t p = 0; p < pixels; ++p) {
                testing::expect_equal(y[(i * pixels + p) * c + j], x[(i * c + j) * pixels + p], "nchw_to_nhwc");
            }
        }
    }
    testing::expect(std::memcmp(x.get(), back.get(), count * sizeof(T)) == 0, "nhwc_to_nchw");
    const Array filters = array_over(y.get(), {pixels, c, n}, dtype);
    layout::oihw_to_hwio(first, filters, nullptr);
    layout::hwio_to_oihw(filters, again, nullptr);
    for (int64_t k = 0; k < n; ++k) {
        for (int64_t j = 0; j < c; ++j) {
            for (int64_t p = 0; p < pixels; ++p) {
                testing::expect_equal(y[(p * c + j) * n + k], x[(k * c + j) * pixels + p], "oihw_to_hwio");
            }
        }
    }
    testing::expect(std::memcmp(x.get(), back.get(), count * sizeof(T)) == 0, "hwio_to_oihw");
}

}  // namespace

TEST(layouts_of_matrices_around_the_tile) {
    const int64_t sizes[][3] = {{1, 3, 70}, {2, 64, 64}, {1, 65, 63}, {2, 17, 130}, {64, 2, 9}, {65, 17, 3}, {1, 1, 1}};
    for (const auto& [n, c, pixels] : sizes) {
        run<uint8_t>(n, c, pixels, DType::kUInt8);
        run<uint16_t>(n, c, pixels, DType::kBFloat16);
        run<uint32_t>(n, c, pixels, DType::kFloat32);
        run<uint64_t>(n, c, pixels, DType::kFloat64);
    }
}
