// Depthwise convolution, fprop and each phase of dgrad: one channel of x and one filter per group.
//
//   y[pixel][c] = activation(bias[c] + sum over taps of x[pixel at tap][c] * w[tap][c])
//
// A thread owns the results of a tile: a box of rows of pixels, and a block of channels. It takes several neighbouring
// pixels of a row at a time, for a vector of channels, so that they share what they read.
// Layouts: any. x is read where it is if its channels are neighbours of the computing type, else from a copy; the same
// holds for where y is written.
// Taps that lie outside the image are skipped; there is no padding in memory.
// Order: taps in ascending order of what they read, in blocks of kBlock.
#include "activate.h"
#include "packing.h"
#include "source.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = 512;                 // of a tile, at least a row of pixels
constexpr int64_t kTiles = 32;                   // so many tiles are enough for any number of threads
constexpr int64_t kCopy = 256 << 10;             // bytes of pixels that a thread copies at a time
constexpr int64_t kChannels = 256;               // of a tile
constexpr int64_t kCopiedChannels = 64;          // of a tile that copies
constexpr int64_t kFilters = int64_t(16) << 20;  // bytes of filters that are kept in order
constexpr double kSmall = 1 << 17;
constexpr int kTogether = 6;  // pixels that are computed together

// What the taps of a row of the filter read for one row of results: of the source and of the filters.
template <class A>
struct TapRow {
    const A* x;  // at the pixel that tap 0 reads for result 0
    const A* w;
};

template <class A>
struct Row {
    const TapRow<A>* taps;
    int64_t rows;            // rows of taps that lie inside the image
    const int64_t* offset;   // of each tap of a row, in elements of x from tap 0
    int64_t width;           // taps of a row
    int64_t next_w;          // from a tap's filters to those of the next, in elements
    int64_t next_x, next_y;  // from one result to the next, in elements of x and of y
    const A* bias;
    bool relu;
};

// n lanes from channel c of a source and of a result.
template <class A, bool kWhole>
CONVGPU_INLINE Vector<A> read(const A* p, int n) {
    return kWhole ? load(p) : load_first(p, n);
}

template <class A>
CONVGPU_INLINE void put(const Row<A>& row, Vector<A> sum, A* y, int64_t c, int n) {
    if (row.bias) sum += load(row.bias + c);
    if (row.relu) sum = sum <= 0 ? Vector<A>{} : sum;
    store_first(y + c, sum, n);
}

// Results k to k + T - 1, whose taps all lie inside: K neighbouring taps, results kStep pixels apart.
template <class A, int K, int kStep, int T, bool kWhole>
CONVGPU_INLINE void neighbours(const Row<A>& row, int64_t k, int64_t pixel, A* y, int64_t c, int n) {
    Vector<A> sum[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[t] = Vector<A>{};
    for (int64_t r = 0; r < row.rows; ++r) {
        const A* const x = row.taps[r].x + k * row.next_x + c;
        Vector<A> w[K];
#pragma GCC unroll 8
        for (int s = 0; s < K; ++s) w[s] = load(row.taps[r].w + s * row.next_w + c);
#pragma GCC unroll 32
        for (int j = 0; j < (T - 1) * kStep + K; ++j) {
            const Vector<A> v = read<A, kWhole>(x + j * pixel, n);
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) {
                if (j >= s && (j - s) % kStep == 0 && (j - s) / kStep < T) sum[(j - s) / kStep] += v * w[s];
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) put(row, sum[t], y + (k + t) * row.next_y, c, n);
}

// Results k to k + T - 1 through taps [begin, end) of each row, wherever they lie.
template <class A, int T, bool kWhole>
CONVGPU_INLINE void anywhere(const Row<A>& row, int64_t k, int64_t begin, int64_t end, A* y, int64_t c, int n) {
    Vector<A> sum[T], total[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) sum[t] = total[t] = Vector<A>{};
    int64_t terms = 0;
    for (int64_t r = 0; r < row.rows; ++r) {
        const A* const x = row.taps[r].x + k * row.next_x + c;
        for (int64_t s = begin; s < end; ++s) {
            const Vector<A> w = load(row.taps[r].w + s * row.next_w + c);
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t) sum[t] += read<A, kWhole>(x + row.offset[s] + t * row.next_x, n) * w;
            if (++terms % kBlock != 0) continue;
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t) {
                total[t] += sum[t];
                sum[t] = Vector<A>{};
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) put(row, total[t] + sum[t], y + (k + t) * row.next_y, c, n);
}

// Calls use(c, lanes, whole) for each vector of channels.
template <class A, class Use>
CONVGPU_INLINE void for_each_vector(int64_t channels, Use use) {
    int64_t c = 0;
    for (; c + kLanes<A> <= channels; c += kLanes<A>) use(c, kLanes<A>, true);
    if (c < channels) use(c, static_cast<int>(channels - c), false);
}

template <class A, int T>
void some_anywhere(const Row<A>& row, int64_t k, int64_t begin, int64_t end, A* y, int64_t channels) {
    for_each_vector<A>(channels, [&](int64_t c, int n, bool whole) __attribute__((always_inline)) {
        whole ? anywhere<A, T, true>(row, k, begin, end, y, c, n) : anywhere<A, T, false>(row, k, begin, end, y, c, n);
    });
}

template <class A, int K, int kStep, int T>
CONVGPU_INLINE void some_neighbours(const Row<A>& row, int64_t k, int64_t pixel, A* y, int64_t channels) {
    for_each_vector<A>(channels, [&](int64_t c, int n, bool whole) __attribute__((always_inline)) {
        whole ? neighbours<A, K, kStep, T, true>(row, k, pixel, y, c, n)
              : neighbours<A, K, kStep, T, false>(row, k, pixel, y, c, n);
    });
}

// Pixel by pixel, then vector by vector of channels: the other order reads memory in steps, which is slower.
template <class A, int K, int kStep>
void inside_neighbours(const Row<A>& row, int64_t k, int64_t end, int64_t pixel, A* y, int64_t channels) {
    for (; k + kTogether <= end; k += kTogether) some_neighbours<A, K, kStep, kTogether>(row, k, pixel, y, channels);
    for (; k + 2 <= end; k += 2) some_neighbours<A, K, kStep, 2>(row, k, pixel, y, channels);
    for (; k < end; ++k) some_neighbours<A, K, kStep, 1>(row, k, pixel, y, channels);
}

// Results [k, end), whose taps all lie inside.
template <class A>
void inside(const Row<A>& row, int64_t k, int64_t end, int64_t step, int64_t pixel, bool close, A* y,
            int64_t channels) {
    if (close && row.rows * row.width <= kBlock) {
        switch (row.width * 2 + (step - 1)) {
            case 2:
                return inside_neighbours<A, 1, 1>(row, k, end, pixel, y, channels);
            case 4:
                return inside_neighbours<A, 2, 1>(row, k, end, pixel, y, channels);
            case 6:
                return inside_neighbours<A, 3, 1>(row, k, end, pixel, y, channels);
            case 7:
                return inside_neighbours<A, 3, 2>(row, k, end, pixel, y, channels);
            case 10:
                return inside_neighbours<A, 5, 1>(row, k, end, pixel, y, channels);
            case 11:
                return inside_neighbours<A, 5, 2>(row, k, end, pixel, y, channels);
            case 14:
                return inside_neighbours<A, 7, 1>(row, k, end, pixel, y, channels);
            default:
                break;
        }
    }
    for (; k + 4 <= end; k += 4) some_anywhere<A, 4>(row, k, 0, row.width, y, channels);
    for (; k < end; ++k) some_anywhere<A, 1>(row, k, 0, row.width, y, channels);
}

template <class T>
class Depthwise {
    using A = Accumulator<T>;

public:
    Depthwise(const ConvCall& call, const Gather& gather)
        : call_(call),
          gather_(gather),
          sizes_{gather.axis[0].count, gather.axis[1].count, gather.axis[2].count},
          padded_(parts(call.groups, kLanes<A>) * kLanes<A>),
          boxes_(call.x.batch, sizes_, larger(kPixels, gather.axis[2].count)) {
        x_in_place_ = sizeof(T) == sizeof(A) && call.x.step_c == 1;
        y_in_place_ = sizeof(T) == sizeof(A) && call.y.step_c == 1;
        channels_ = smaller<int64_t>(call.groups, x_in_place_ && y_in_place_ ? kChannels : kCopiedChannels);
        int64_t most = boxes_.pixels();
        while (most > 1 && (copies() > kCopy || boxes_.count() * parts(call.groups, channels_) < kTiles)) {
            if (copies() <= kCopy && most <= 2 * gather.axis[2].count) break;
            boxes_ = Boxes(call.x.batch, sizes_, most /= 2);
        }
        const GatherAxis& w = gather.axis[2];
        close_ = w.step <= 2;
        for (size_t i = 1; i < w.taps.size(); ++i) close_ &= w.taps[i].offset == w.taps[i - 1].offset + 1;
    }

    bool suits() const {
        return gather_.taps() > 0 && copies() <= 16 * kCopy &&
               (gather_.taps() + 1) * padded_ * static_cast<int64_t>(sizeof(A)) <= kFilters;
    }

    void run() {
        if (boxes_.count() == 0) return;
        const double products = static_cast<double>(call_.x.batch) * gather_.pixels() * gather_.taps() * call_.groups;
        const Memory filters((gather_.taps() + 1) * padded_ * sizeof(A));
        filters_ = reinterpret_cast<A*>(filters.data());
        arrange_filters();
        const int64_t blocks = parts(call_.groups, channels_);
        parallel_for(boxes_.count() * blocks, products < kSmall ? 1 : call_.threads, scratch_bytes(),
                     [&](int64_t i, char* scratch) { tile(boxes_[i / blocks], i % blocks * channels_, scratch); });
    }

private:
    int64_t copied() const {
        if (x_in_place_) return 0;
        return region_pixels(gather_, boxes_) * channels_ * static_cast<int64_t>(sizeof(A));
    }
    // The bytes of the copies of x and of a row of results.
    int64_t copies() const {
        return copied() + (y_in_place_ ? 0 : boxes_.part(3) * channels_ * static_cast<int64_t>(sizeof(A)));
    }
    int64_t tap_rows() const { return gather_.axis[0].taps.size() * gather_.axis[1].taps.size(); }
    size_t scratch_bytes() const {
        return tap_rows() * sizeof(TapRow<A>) + gather_.axis[2].taps.size() * sizeof(int64_t) + copies() + 64;
    }

    // Filters as [tap][channel], and behind them the bias.
    void arrange_filters() {
        const GatherAxis* const axis = gather_.axis;
        A* to = filters_;
        for (const Tap& d : axis[0].taps) {
            for (const Tap& r : axis[1].taps) {
                for (const Tap& s : axis[2].taps) {
                    const T* const from = reinterpret_cast<const T*>(call_.w.data) + d.filter * call_.w.step[0] +
                                          r.filter * call_.w.step[1] + s.filter * call_.w.step[2];
                    for (int64_t c = 0; c < padded_; ++c) {
                        *to++ = c < call_.groups ? widened(from[c * call_.step_group]) : A(0);
                    }
                }
            }
        }
        for (int64_t c = 0; c < padded_ && call_.bias; ++c) {
            to[c] = c < call_.groups ? widened(static_cast<const T*>(call_.bias)[c]) : A(0);
        }
    }

    void tile(const Box& box, int64_t first, char* scratch) const {
        const int64_t channels = smaller(channels_, call_.groups - first);
        const GatherAxis* const axis = gather_.axis;
        TapRow<A>* const taps = reinterpret_cast<TapRow<A>*>(scratch);
        int64_t* const offsets = reinterpret_cast<int64_t*>(scratch + tap_rows() * sizeof(TapRow<A>));
        A* const copy = reinterpret_cast<A*>(offsets + axis[2].taps.size());
        A* const result = copy + copied() / sizeof(A);
        Source<A> x{call_.x.at<const A>(0, 0, 0, 0, x_in_place_ ? first : 0),
                    call_.x.step_n,
                    {call_.x.step[0], call_.x.step[1], call_.x.step[2]}};
        if (!x_in_place_) x = copy_region<T>(call_.x, gather_, box, first, channels, copy);
        const int64_t left = axis[2].taps[0].offset, right = axis[2].taps[axis[2].taps.size() - 1].offset;
        for (size_t s = 0; s < axis[2].taps.size(); ++s) offsets[s] = (axis[2].taps[s].offset - left) * x.step[2];
        Row<A> row{taps,
                   0,
                   offsets,
                   static_cast<int64_t>(axis[2].taps.size()),
                   padded_,
                   axis[2].step * x.step[2],
                   y_in_place_ ? axis[2].apart * call_.y.step[2] : channels,
                   call_.bias ? filters_ + gather_.taps() * padded_ + first : nullptr,
                   call_.activation == Activation::kRelu};
        // Results [begin, end) of a row have all their taps inside.
        const int64_t lo = left < 0 ? parts(-left, axis[2].step) : 0;
        const int64_t hi = right < call_.x.size[2] ? parts(call_.x.size[2] - right, axis[2].step) : 0;
        const int64_t begin = smaller(larger(box.begin[3], lo), box.end[3]),
                      end = larger(smaller(box.end[3], hi), begin);
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j) {
                    row.rows = find_rows(x, n, i, j, first, taps);
                    A* const base = y_in_place_ ? call_.y.at<A>(n, axis[0].first + i * axis[0].apart,
                                                                axis[1].first + j * axis[1].apart, axis[2].first, first)
                                                : result - box.begin[3] * channels;
                    for (int64_t k = box.begin[3]; k < begin; ++k) edge(row, k, base, channels);
                    inside(row, begin, end, axis[2].step, x.step[2], close_, base, channels);
                    for (int64_t k = end; k < box.end[3]; ++k) edge(row, k, base, channels);
                    finish(n, i, j, box, first, channels, base);
                }
            }
        }
    }

    int64_t find_rows(const Source<A>& x, int64_t n, int64_t i, int64_t j, int64_t first, TapRow<A>* taps) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t S = axis[2].taps.size(), R = axis[1].taps.size();
        int64_t rows = 0;
        for (int64_t t = 0; t < static_cast<int64_t>(axis[0].taps.size()); ++t) {
            const int64_t d = i * axis[0].step + axis[0].taps[t].offset;
            if (d < 0 || d >= call_.x.size[0]) continue;
            for (int64_t r = 0; r < R; ++r) {
                const int64_t h = j * axis[1].step + axis[1].taps[r].offset;
                if (h < 0 || h >= call_.x.size[1]) continue;
                taps[rows++] = {
                    x.data + n * x.step_n + d * x.step[0] + h * x.step[1] + axis[2].taps[0].offset * x.step[2],
                    filters_ + (t * R + r) * S * padded_ + first};
            }
        }
        return rows;
    }

    // A result some of whose taps lie outside. Taps are in order, so that those inside follow each other.
    void edge(const Row<A>& row, int64_t k, A* y, int64_t channels) const {
        const GatherAxis& axis = gather_.axis[2];
        const int64_t S = axis.taps.size();
        int64_t begin = S, end = 0;
        for (int64_t s = 0; s < S; ++s) {
            const int64_t w = k * axis.step + axis.taps[s].offset;
            if (w < 0 || w >= call_.x.size[2]) continue;
            begin = smaller(begin, s);
            end = s + 1;
        }
        some_anywhere<A, 1>(row, k, smaller(begin, end), end, y, channels);
    }

    void finish(int64_t n, int64_t i, int64_t j, const Box& box, int64_t first, int64_t channels, A* base) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t next = y_in_place_ ? axis[2].apart * call_.y.step[2] : channels;
        if (call_.activation == Activation::kSigmoid || call_.activation == Activation::kTanh) {
            for (int64_t k = box.begin[3]; k < box.end[3]; ++k) activate(call_.activation, base + k * next, channels);
        }
        if (y_in_place_) return;
        deliver<T>(base + box.begin[3] * channels, channels,
                   call_.y.at<T>(n, axis[0].first + i * axis[0].apart, axis[1].first + j * axis[1].apart,
                                 axis[2].first + box.begin[3] * axis[2].apart, first),
                   axis[2].apart * call_.y.step[2], call_.y.step_c, box.count(3), channels);
    }

    const ConvCall& call_;
    const Gather& gather_;
    int64_t sizes_[kAxes];
    int64_t padded_, channels_;  // channels in whole vectors, and of a tile
    Boxes boxes_;
    bool x_in_place_, y_in_place_, close_;
    A* filters_ = nullptr;
};

}  // namespace

template <class T>
bool depthwise(const ConvCall& call, const Gather& gather) {
    if (call.reads != 1 || call.makes != 1 || call.groups == 1) return false;
    Depthwise<T> kernel(call, gather);
    if (!kernel.suits()) return false;
    kernel.run();
    return true;
}

template bool depthwise<Half>(const ConvCall&, const Gather&);
template bool depthwise<BFloat16>(const ConvCall&, const Gather&);
template bool depthwise<float>(const ConvCall&, const Gather&);
template bool depthwise<double>(const ConvCall&, const Gather&);

}  // namespace convgpu::cpu::CONVGPU_ISA
