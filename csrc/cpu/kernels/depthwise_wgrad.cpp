// The filters' gradient of depthwise convolution: gw[tap][c] = sum over pixels of x[pixel at tap][c] * gy[pixel][c].
//
// A thread owns a block of channels of one segment of the rows of gy, and all taps. For each row of taps it keeps the
// sums of a vector of channels in registers, while it passes over a few rows of pixels; for the nine taps of 3x3
// filters it keeps them all, since three sums are too few to hide the latency of a multiply-add. Layouts: any; rows
// whose channels are not neighbours of the computing type are copied. Taps outside the image are skipped. Order: about
// kBlock pixels in a sequence, kBoxes of these, then these in float64, then the segments. Boxes and segments follow
// from the geometry alone.
#include "boxes.h"
#include "packing.h"
#include "source.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = kBlock;  // of a box, at most
constexpr int64_t kBoxes = 32;       // that are added before float64 takes over
constexpr int64_t kSegments = 16;
constexpr int64_t kChannels = 64;   // of a block
constexpr int64_t kCopy = 4 << 20;  // bytes that a thread may copy
constexpr int64_t kPartials = int64_t(16) << 20;
constexpr double kSmall = 1 << 17;

// A row of gy and the row of x that a row of taps reads for it, at their first pixels.
template <class A>
struct Rows {
    const A *x, *gy;
    int64_t pixel, next;  // from pixel to pixel of x and of gy
    int64_t width;        // pixels of x
};

template <class A, bool kWhole>
CONVGPU_INLINE Vector<A> read(const A* p, int n) {
    return kWhole ? load(p) : load_first(p, n);
}

// sum[s] += x[pixel at tap s] * gy[pixel] for pixels [begin, end) of a row and K neighbouring taps, the first of which
// reads `offset` pixels from the pixel itself. For pixels [lo, hi) all taps lie inside.
template <class A, int K, int kStep, bool kWhole>
CONVGPU_INLINE void add_row(const Rows<A>& row, int64_t begin, int64_t end, int64_t lo, int64_t hi, int64_t offset,
                            Vector<A> (&sum)[K], int n) {
    const auto at_edge = [&](int64_t q) __attribute__((always_inline)) {
        const Vector<A> g = read<A, kWhole>(row.gy + q * row.next, n);
        const int64_t w = q * kStep + offset;
#pragma GCC unroll 8
        for (int s = 0; s < K; ++s) {
            if (w + s >= 0 && w + s < row.width) sum[s] += read<A, kWhole>(row.x + (w + s) * row.pixel, n) * g;
        }
    };
    int64_t q = begin;
    for (; q < lo; ++q) at_edge(q);
    constexpr int T = 4;
    const A *x = row.x + (q * kStep + offset) * row.pixel, *gy = row.gy + q * row.next;
    for (; q + T <= hi; q += T, x += T * kStep * row.pixel, gy += T * row.next) {
        Vector<A> g[T];
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) g[t] = read<A, kWhole>(gy + t * row.next, n);
#pragma GCC unroll 32
        for (int j = 0; j < (T - 1) * kStep + K; ++j) {
            const Vector<A> v = read<A, kWhole>(x + j * row.pixel, n);
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) {
                if (j >= s && (j - s) % kStep == 0 && (j - s) / kStep < T) sum[s] += v * g[(j - s) / kStep];
            }
        }
    }
    for (; q < end; ++q) at_edge(q);
}

// sum[r][s] += x[pixel at tap (r, s)] * gy[pixel] for the pixels of a row, three rows of taps that all lie inside, and
// three taps in each. `lines` elements lie between the rows of x.
template <class A, int kStep, bool kWhole>
CONVGPU_INLINE void add_three_rows(const Rows<A>& row, int64_t lines, int64_t begin, int64_t end, int64_t lo,
                                   int64_t hi, int64_t offset, Vector<A> (&sum)[3][3], int n) {
    const auto at_edge = [&](int64_t q) __attribute__((always_inline)) {
        const Vector<A> g = read<A, kWhole>(row.gy + q * row.next, n);
        const int64_t w = q * kStep + offset;
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) {
#pragma GCC unroll 3
            for (int s = 0; s < 3; ++s) {
                if (w + s < 0 || w + s >= row.width) continue;
                sum[r][s] += read<A, kWhole>(row.x + r * lines + (w + s) * row.pixel, n) * g;
            }
        }
    };
    int64_t q = begin;
    for (; q < lo; ++q) at_edge(q);
    constexpr int T = 4;
    const A *x = row.x + (q * kStep + offset) * row.pixel, *gy = row.gy + q * row.next;
    for (; q + T <= hi; q += T, x += T * kStep * row.pixel, gy += T * row.next) {
        Vector<A> g[T];
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) g[t] = read<A, kWhole>(gy + t * row.next, n);
#pragma GCC unroll 16
        for (int j = 0; j < (T - 1) * kStep + 3; ++j) {
#pragma GCC unroll 3
            for (int r = 0; r < 3; ++r) {
                const Vector<A> v = read<A, kWhole>(x + r * lines + j * row.pixel, n);
#pragma GCC unroll 3
                for (int s = 0; s < 3; ++s) {
                    if (j >= s && (j - s) % kStep == 0 && (j - s) / kStep < T) sum[r][s] += v * g[(j - s) / kStep];
                }
            }
        }
    }
    for (; q < end; ++q) at_edge(q);
}

// The same for one tap, which lies inside for pixels [begin, end).
template <class A, bool kWhole>
CONVGPU_INLINE void add_tap(const Rows<A>& row, int64_t begin, int64_t end, int64_t step, int64_t offset,
                            Vector<A>& sum, int n) {
    for (int64_t q = begin; q < end; ++q) {
        sum += read<A, kWhole>(row.x + (q * step + offset) * row.pixel, n) * read<A, kWhole>(row.gy + q * row.next, n);
    }
}

template <class T>
class DepthwiseGradient {
    using A = Accumulator<T>;

public:
    explicit DepthwiseGradient(const WgradCall& call)
        : call_(call),
          gather_(*call.gather),
          sizes_{gather_.axis[0].count, gather_.axis[1].count, gather_.axis[2].count},
          boxes_(call.x.batch, sizes_, kPixels) {
        x_in_place_ = sizeof(T) == sizeof(A) && call.x.step_c == 1;
        gy_in_place_ = sizeof(T) == sizeof(A) && call.gy.step_c == 1;
        channels_ = smaller<int64_t>(call.groups, kChannels);
        for (int64_t most = kPixels; most > 1 && copied_x() > kCopy / 4;)
            boxes_ = Boxes(call.x.batch, sizes_, most /= 2);
        const GatherAxis& w = gather_.axis[2];
        close_ = w.step <= 2;
        for (size_t i = 1; i < w.taps.size(); ++i) close_ &= w.taps[i].offset == w.taps[i - 1].offset + 1;
        blocks_ = parts(call.groups, channels_);
        segments_ = larger<int64_t>(smaller(smaller(kSegments, boxes_.count()), kPartials / (sums() * blocks_ * 8)), 1);
    }

    bool suits() const { return copied_x() <= kCopy && sums() * blocks_ * 8 <= kPartials; }

    void run() {
        const double products = static_cast<double>(call_.x.batch) * gather_.pixels() * gather_.taps() * call_.groups;
        const int threads = products < kSmall ? 1 : call_.threads;
        const Memory partials(segments_ * blocks_ * sums() * sizeof(double));
        partials_ = reinterpret_cast<double*>(partials.data());
        const size_t bytes =
            copied_x() + sums() * sizeof(A) + (gy_in_place_ ? 0 : boxes_.pixels() * channels_ * sizeof(A)) + 64;
        parallel_for(segments_ * blocks_, threads, bytes,
                     [&](int64_t i, char* scratch) { block(i / segments_, i % segments_, scratch); });
        parallel_for(blocks_, threads, 0, [&](int64_t i, char*) { add_segments(i); });
    }

private:
    int64_t sums() const { return gather_.taps() * channels_; }  // of a block
    int64_t copied_x() const {
        return x_in_place_ ? 0 : region_pixels(gather_, boxes_) * channels_ * static_cast<int64_t>(sizeof(A));
    }

    void block(int64_t i, int64_t segment, char* scratch) const {
        const int64_t first = i * channels_, channels = smaller(channels_, call_.groups - first);
        double* const sums_of = partials_ + (segment * blocks_ + i) * sums();
        std::memset(sums_of, 0, sums() * sizeof(double));
        A* const near = reinterpret_cast<A*>(scratch + copied_x());
        A* const copied_gy = near + sums();
        std::memset(near, 0, sums() * sizeof(A));
        const int64_t end = boxes_.count() * (segment + 1) / segments_;
        int64_t added = 0;
        for (int64_t b = boxes_.count() * segment / segments_; b < end; ++b) {
            const Box box = boxes_[b];
            Source<A> x{call_.x.at<const A>(0, 0, 0, 0, x_in_place_ ? first : 0),
                        call_.x.step_n,
                        {call_.x.step[0], call_.x.step[1], call_.x.step[2]}};
            if (!x_in_place_) x = copy_region<T>(call_.x, gather_, box, first, channels, reinterpret_cast<A*>(scratch));
            Source<A> gy{call_.gy.at<const A>(0, 0, 0, 0, gy_in_place_ ? first : 0),
                         call_.gy.step_n,
                         {call_.gy.step[0], call_.gy.step[1], call_.gy.step[2]}};
            if (!gy_in_place_) gy = copy_gy(box, first, channels, copied_gy);
            for (int64_t c = 0; c < channels; c += kLanes<A>) {
                const int n = static_cast<int>(smaller<int64_t>(kLanes<A>, channels - c));
                n == kLanes<A> ? add_box<true>(box, x, gy, c, n, near) : add_box<false>(box, x, gy, c, n, near);
            }
            if (++added % kBoxes == 0 || b + 1 == end) {
                for (int64_t j = 0; j < sums(); ++j) {
                    sums_of[j] += near[j];
                    near[j] = 0;
                }
            }
        }
    }

    Source<A> copy_gy(const Box& box, int64_t first, int64_t channels, A* to) const {
        Source<A> gy{to, 0, {0, 0, channels}};
        gy.step[1] = box.count(3) * channels;
        gy.step[0] = box.count(2) * gy.step[1];
        gy.step_n = box.count(1) * gy.step[0];
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                for (int64_t h = box.begin[2]; h < box.end[2]; ++h, to += gy.step[1]) {
                    fetch<T>(call_.gy.at<const T>(n, d, h, box.begin[3], first), call_.gy.step[2], call_.gy.step_c, to,
                             channels, box.count(3), channels);
                }
            }
        }
        gy.data -= box.begin[0] * gy.step_n + box.begin[1] * gy.step[0] + box.begin[2] * gy.step[1] +
                   box.begin[3] * gy.step[2];
        return gy;
    }

    // The outputs of an axis for which a tap lies inside, within [begin, end).
    Span inside(int a, int64_t tap, int64_t begin, int64_t end) const {
        const GatherAxis& axis = gather_.axis[a];
        const int64_t offset = axis.taps[tap].offset, size = call_.x.size[a];
        const int64_t lo = offset < 0 ? parts(-offset, axis.step) : 0;
        const int64_t hi = offset < size ? parts(size - offset, axis.step) : 0;
        return {larger(begin, lo), smaller(end, hi)};
    }

    template <bool kWhole>
    void add_box(const Box& box, const Source<A>& x, const Source<A>& gy, int64_t c, int n, A* near) const {
        const int64_t S = gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        if (close_ && S == 3 && R == 3 && gather_.axis[0].taps.size() == 1) {
            return gather_.axis[2].step == 1 ? add_nine_taps<1, kWhole>(box, x, gy, c, n, near + c)
                                             : add_nine_taps<2, kWhole>(box, x, gy, c, n, near + c);
        }
        for (int64_t row = 0; row < static_cast<int64_t>(gather_.axis[0].taps.size()) * R; ++row) {
            A* const to = near + row * S * channels_ + c;
            switch (close_ ? S * 2 + gather_.axis[2].step - 1 : 0) {
                case 6:
                    add_taps<3, 1, kWhole>(box, row, x, gy, c, n, to);
                    break;
                case 7:
                    add_taps<3, 2, kWhole>(box, row, x, gy, c, n, to);
                    break;
                case 10:
                    add_taps<5, 1, kWhole>(box, row, x, gy, c, n, to);
                    break;
                case 11:
                    add_taps<5, 2, kWhole>(box, row, x, gy, c, n, to);
                    break;
                default:
                    add_each_tap<kWhole>(box, row, x, gy, c, n, to);
            }
        }
    }

    // 3x3 filters: rows of gy for which all rows of taps lie inside, then the rest, row of taps by row of taps.
    template <int kStep, bool kWhole>
    __attribute__((noinline)) void add_nine_taps(const Box& box, const Source<A>& x, const Source<A>& gy, int64_t c,
                                                 int n, A* to) const {
        const GatherAxis* const axis = gather_.axis;
        const Span top = inside(1, 0, box.begin[2], box.end[2]), bottom = inside(1, 2, box.begin[2], box.end[2]);
        const Span left = inside(2, 0, box.begin[3], box.end[3]), right = inside(2, 2, box.begin[3], box.end[3]);
        const int64_t lo = smaller(larger(left.begin, right.begin), box.end[3]), hi = smaller(left.end, right.end);
        Box whole = box;  // the rows of gy for which all rows of taps lie inside
        whole.begin[2] = larger(top.begin, bottom.begin);
        whole.end[2] = larger(smaller(top.end, bottom.end), whole.begin[2]);
        Vector<A> sum[3][3] = {};
        const int64_t lines = (axis[1].taps[1].offset - axis[1].taps[0].offset) * x.step[1];
        for_each_row(whole, 0, x, gy, c, [&](const Rows<A>& rows) __attribute__((always_inline)) {
            add_three_rows<A, kStep, kWhole>(rows, lines, box.begin[3], box.end[3], lo, hi, axis[2].taps[0].offset, sum,
                                             n);
        });
        for (int r = 0; r < 3; ++r) {
            for (int s = 0; s < 3; ++s) add_to(to + (r * 3 + s) * channels_, sum[r][s], n);
            Box part = box;
            part.end[2] = smaller(whole.begin[2], box.end[2]);
            add_taps<3, kStep, kWhole>(part, r, x, gy, c, n, to + r * 3 * channels_);
            part.begin[2] = larger(part.end[2], whole.end[2]);
            part.end[2] = box.end[2];
            add_taps<3, kStep, kWhole>(part, r, x, gy, c, n, to + r * 3 * channels_);
        }
    }

    // Calls use(rows) for the rows of gy of a box for which a row of taps lies inside.
    template <class Use>
    CONVGPU_INLINE void for_each_row(const Box& box, int64_t row, const Source<A>& x, const Source<A>& gy, int64_t c,
                                     Use use) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t R = axis[1].taps.size(), d = row / R, r = row % R;
        const Span os = inside(0, d, box.begin[1], box.end[1]), ps = inside(1, r, box.begin[2], box.end[2]);
        for (int64_t i = box.begin[0]; i < box.end[0]; ++i) {
            for (int64_t o = os.begin; o < os.end; ++o) {
                for (int64_t p = ps.begin; p < ps.end; ++p) {
                    use(Rows<A>{x.data + i * x.step_n + (o * axis[0].step + axis[0].taps[d].offset) * x.step[0] +
                                    (p * axis[1].step + axis[1].taps[r].offset) * x.step[1] + c,
                                gy.data + i * gy.step_n + o * gy.step[0] + p * gy.step[1] + c, x.step[2], gy.step[2],
                                call_.x.size[2]});
                }
            }
        }
    }

    template <int K, int kStep, bool kWhole>
    __attribute__((noinline)) void add_taps(const Box& box, int64_t row, const Source<A>& x, const Source<A>& gy,
                                            int64_t c, int n, A* to) const {
        const Span first = inside(2, 0, box.begin[3], box.end[3]), last = inside(2, K - 1, box.begin[3], box.end[3]);
        const int64_t lo = smaller(larger(first.begin, last.begin), box.end[3]), hi = smaller(first.end, last.end);
        Vector<A> sum[K] = {};
        for_each_row(box, row, x, gy, c, [&](const Rows<A>& rows) __attribute__((always_inline)) {
            add_row<A, K, kStep, kWhole>(rows, box.begin[3], box.end[3], lo, hi, gather_.axis[2].taps[0].offset, sum,
                                         n);
        });
        for (int s = 0; s < K; ++s) add_to(to + s * channels_, sum[s], n);
    }

    template <bool kWhole>
    void add_each_tap(const Box& box, int64_t row, const Source<A>& x, const Source<A>& gy, int64_t c, int n,
                      A* to) const {
        const GatherAxis& axis = gather_.axis[2];
        for (int64_t s = 0; s < static_cast<int64_t>(axis.taps.size()); ++s) {
            const Span span = inside(2, s, box.begin[3], box.end[3]);
            Vector<A> sum{};
            for_each_row(box, row, x, gy, c, [&](const Rows<A>& rows) {
                add_tap<A, kWhole>(rows, span.begin, span.end, axis.step, axis.taps[s].offset, sum, n);
            });
            add_to(to + s * channels_, sum, n);
        }
    }

    static void add_to(A* to, Vector<A> sum, int n) { store_first(to, load_first(to, n) + sum, n); }

    void add_segments(int64_t i) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t first = i * channels_, channels = smaller(channels_, call_.groups - first);
        int64_t at = i * sums();
        for (const Tap& d : axis[0].taps) {
            for (const Tap& r : axis[1].taps) {
                for (const Tap& s : axis[2].taps) {
                    T* const to = reinterpret_cast<T*>(call_.gw.data) + d.filter * call_.gw.step[0] +
                                  r.filter * call_.gw.step[1] + s.filter * call_.gw.step[2];
                    for (int64_t c = 0; c < channels; ++c) {
                        double sum = 0;
                        for (int64_t g = 0; g < segments_; ++g) sum += partials_[g * blocks_ * sums() + at + c];
                        to[(first + c) * call_.step_group] = narrowed<T>(static_cast<A>(sum));
                    }
                    at += channels_;
                }
            }
        }
    }

    const WgradCall& call_;
    const Gather& gather_;
    int64_t sizes_[kAxes];
    Boxes boxes_;
    bool x_in_place_, gy_in_place_, close_;
    int64_t channels_, blocks_, segments_;
    double* partials_ = nullptr;
};

}  // namespace

template <class T>
bool depthwise_wgrad(const WgradCall& call) {
    if (call.channels != 1 || call.filters != 1 || call.groups == 1) return false;
    if (depthwise_wgrad_planes<T>(call)) return true;
    DepthwiseGradient<T> gradient(call);
    if (!gradient.suits()) return false;
    gradient.run();
    return true;
}

template bool depthwise_wgrad<Half>(const WgradCall&);
template bool depthwise_wgrad<BFloat16>(const WgradCall&);
template bool depthwise_wgrad<float>(const WgradCall&);
template bool depthwise_wgrad<double>(const WgradCall&);

}  // namespace convgpu::cpu::CONVGPU_ISA
