// Ops that move elements or compute indices, for which no instruction set is better than another.
#include "moves.h"

#include <algorithm>
#include <stdexcept>

#include "arguments.h"
#include "pool.h"
#include "threads.h"

namespace convgpu::cpu {
namespace {

constexpr int64_t kTile = 32;  // rows and columns that are exchanged at a time
constexpr int64_t kSmall = 32768;

template <class E>
void swap_axes(const Array& x, const Array& y, int threads) {
    const int64_t items = x.shape[0], rows = x.shape[1], columns = x.shape[2];
    const int64_t down = (rows + kTile - 1) / kTile, steps[3] = {x.strides[0], x.strides[1], x.strides[2]};
    parallel_for(items * down, x.size() < kSmall ? 1 : threads, 0, [&](int64_t tile, char*) {
        const int64_t item = tile / down, first = tile % down * kTile, last = std::min(rows, first + kTile);
        const char* const from = x.as<const char>() + item * steps[0];
        E* const to = y.as<E>() + item * rows * columns;
        for (int64_t j = 0; j < columns; j += kTile) {
            const int64_t end = std::min(columns, j + kTile);
            for (int64_t k = j; k < end; ++k) {
                for (int64_t i = first; i < last; ++i) {
                    to[k * rows + i] = *reinterpret_cast<const E*>(from + i * steps[1] + k * steps[2]);
                }
            }
        }
    });
}

template <class Offset>
void indices_of(const Images& offsets, const Images& indices, const PoolGeometry& geo, int threads) {
    PoolAxis axis[kAxes];
    for (int a = 0; a < geo.rank(); ++a) {
        axis[kAxes - geo.rank() + a] = {geo.size[a],  geo.window[a],   geo.stride[a], geo.before[a],
                                        geo.after[a], geo.dilation[a], geo.output[a], geo.adaptive};
    }
    const auto pixel = [&axis](int a, int64_t o, int64_t tap) {
        const int64_t start =
            axis[a].adaptive ? o * axis[a].size / axis[a].output : o * axis[a].stride - axis[a].before;
        return start + tap * axis[a].dilation;
    };
    parallel_for(indices.batch * indices.size[0] * indices.size[1], threads, 0, [&](int64_t row, char*) {
        const int64_t p = row % indices.size[1], o = row / indices.size[1] % indices.size[0];
        const int64_t n = row / indices.size[1] / indices.size[0];
        for (int64_t q = 0; q < indices.size[2]; ++q) {
            for (int64_t c = 0; c < indices.channels; ++c) {
                const int64_t code = *offsets.at<const Offset>(n, o, p, q, c);
                const int64_t s = code % axis[2].window, r = code / axis[2].window % axis[1].window;
                const int64_t t = code / axis[2].window / axis[1].window;
                *indices.at<int64_t>(n, o, p, q, c) =
                    (pixel(0, o, t) * axis[1].size + pixel(1, p, r)) * axis[2].size + pixel(2, q, s);
            }
        }
    });
}

}  // namespace

void swap_last_axes(const Array& x, const Array& y, int threads) {
    if (x.shape.size() != 3) {
        throw std::invalid_argument("swap_last_axes: expected x of three axes, got shape " + text_of(x.shape));
    }
    check_view("swap_last_axes", "x", x, x.shape, x.dtype);
    check_view("swap_last_axes", "y", y, {x.shape[0], x.shape[2], x.shape[1]}, x.dtype);
    switch (size_of(x.dtype)) {
        case 1:
            return swap_axes<uint8_t>(x, y, threads);
        case 2:
            return swap_axes<uint16_t>(x, y, threads);
        case 4:
            return swap_axes<uint32_t>(x, y, threads);
        default:
            return swap_axes<uint64_t>(x, y, threads);
    }
}

void max_pool_indices(const Array& offsets, const Array& indices, const PoolGeometry& geo, int threads) {
    check_view("max_pool_indices", "offsets", offsets, geo.y_shape(), geo.offset_dtype());
    check_view("max_pool_indices", "indices", indices, geo.y_shape(), DType::kInt64);
    if (indices.size() == 0) return;
    const Images from = images_of(offsets, geo.channels_last), to = images_of(indices, geo.channels_last);
    if (indices.size() < kSmall) threads = 1;
    switch (size_of(geo.offset_dtype())) {
        case 1:
            return indices_of<uint8_t>(from, to, geo, threads);
        case 2:
            return indices_of<uint16_t>(from, to, geo, threads);
        default:
            return indices_of<int32_t>(from, to, geo, threads);
    }
}

}  // namespace convgpu::cpu
