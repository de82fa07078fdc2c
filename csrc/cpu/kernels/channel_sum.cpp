// The sums over all pixels of each channel: the gradient of a bias.
//
// A thread owns a segment of the rows of pixels and all channels. Where the channels of a pixel are neighbours it adds
// vectors of channels, else vectors of pixels, or one by one.
// Layouts: any.
// Order: kBlock pixels in a sequence, then these in float64, row by row, then the segments. Segments follow from the
// sizes alone.
#include "../threads.h"
#include "lanes.h"
#include "product.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kSegments = 16;
constexpr int64_t kSmall = 32768;

// sums[c] += the sum of pixels [0, n) of a row, for all channels.
template <class T>
void add_row(const T* row, int64_t n, int64_t step_p, int64_t step_c, int64_t channels, double* sums) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    for (int64_t p = 0; p < n; p += kBlock) {
        const T* const some = row + p * step_p;
        const int64_t pixels = smaller<int64_t>(kBlock, n - p);
        if (step_c == 1) {
            for (int64_t c = 0; c < channels; c += L) {
                const int lanes = static_cast<int>(smaller<int64_t>(L, channels - c));
                Vector<A> sum{};
                for (int64_t i = 0; i < pixels; ++i) sum += read_lanes(some + i * step_p + c, lanes);
                for (int i = 0; i < lanes; ++i) sums[c + i] += sum[i];
            }
            continue;
        }
        for (int64_t c = 0; c < channels; ++c) {
            const T* const line = some + c * step_c;
            A sum = 0;
            if (step_p == 1) {
                Vector<A> all{};
                for (int64_t i = 0; i < pixels; i += L) {
                    all += read_lanes(line + i, static_cast<int>(smaller<int64_t>(L, pixels - i)));
                }
                for (int i = 0; i < L; ++i) sum += all[i];
            } else {
                for (int64_t i = 0; i < pixels; ++i) sum += widened(line[i * step_p]);
            }
            sums[c] += sum;
        }
    }
}

}  // namespace

template <class T>
void channel_sum(const SumCall& call) {
    const Images& gy = call.gy;
    const int64_t rows = gy.batch * gy.size[0] * gy.size[1], width = gy.size[2], C = gy.channels;
    // A single long row is cut into pieces, so that threads share it.
    const int64_t pieces = rows >= kSegments ? 1 : smaller(kSegments, parts(width, 2 * kBlock));
    const int64_t piece = parts(parts(width, larger<int64_t>(pieces, 1)), kBlock) * kBlock, all = rows * pieces;
    const int64_t segments = larger<int64_t>(smaller(kSegments, all), 1);
    const Memory memory(segments * C * sizeof(double));
    double* const sums = reinterpret_cast<double*>(memory.data());
    std::memset(sums, 0, segments * C * sizeof(double));
    parallel_for(segments, rows * width * C < kSmall ? 1 : call.threads, 0, [&](int64_t s, char*) {
        for (int64_t i = all * s / segments; i < all * (s + 1) / segments; ++i) {
            const int64_t row = i / pieces, begin = i % pieces * piece, end = smaller(width, begin + piece);
            if (begin >= end) continue;
            const int64_t h = row % gy.size[1], d = row / gy.size[1] % gy.size[0], n = row / gy.size[1] / gy.size[0];
            add_row(gy.at<const T>(n, d, h, begin, 0), end - begin, gy.step[2], gy.step_c, C, sums + s * C);
        }
    });
    for (int64_t c = 0; c < C; ++c) {
        double sum = 0;
        for (int64_t s = 0; s < segments; ++s) sum += sums[s * C + c];
        static_cast<T*>(call.gb)[c] = narrowed<T>(static_cast<Accumulator<T>>(sum));
    }
}

CONVGPU_FOR_EACH_DTYPE(channel_sum, SumCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
