// The filters' gradient of depthwise convolution: gw[tap][c] = sum over pixels of x[pixel at tap][c] * gy[pixel][c].
//
// A thread owns a block of channels of one segment of the rows of gy, and all taps. For each row of taps it keeps the
// sums of a vector of channels in registers, while it passes over a few rows of pixels.
// Layouts: any; rows whose channels are not neighbours of the computing type are copied.
// Taps outside the image are skipped.
// Order: about kBlock pixels in a sequence, then these in float64, box by box, then the segments. Boxes and segments
// follow from the geometry alone.
#include "boxes.h"
#include "packing.h"
#include "source.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = kBlock;      // of a box, at most
constexpr int64_t kSegments = 16;
constexpr int64_t kChannels = 64;        // of a block
constexpr int64_t kCopy = 4 << 20;       // bytes that a thread may copy
constexpr int64_t kPartials = int64_t(16) << 20;
constexpr double kSmall = 1 << 17;

template <class A>
struct Rows {
    const A *x, *gy;  // at the first pixel of gy, and at what tap 0 reads for it
    int64_t count;    // pixels of gy
};

// sum[s] += x[pixel + s] * gy[pixel] over a row, for K neighbouring taps.
template <class A, int K, int kStep, bool kWhole>
CONVGPU_INLINE void add_row(const Rows<A>& row, int64_t pixel, int64_t next, Vector<A> (&sum)[K], int n) {
    const auto read = [n](const A* p) __attribute__((always_inline)) { return kWhole ? load(p) : load_first(p, n); };
    const A *x = row.x, *gy = row.gy;
    int64_t i = 0;
    constexpr int T = 4;
    for (; i + T <= row.count; i += T, x += T * kStep * pixel, gy += T * next) {
        Vector<A> g[T];
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) g[t] = read(gy + t * next);
#pragma GCC unroll 32
        for (int j = 0; j < (T - 1) * kStep + K; ++j) {
            const Vector<A> v = read(x + j * pixel);
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) {
                if (j >= s && (j - s) % kStep == 0 && (j - s) / kStep < T) sum[s] += v * g[(j - s) / kStep];
            }
        }
    }
    for (; i < row.count; ++i, x += kStep * pixel, gy += next) {
        const Vector<A> g = read(gy);
#pragma GCC unroll 8
        for (int s = 0; s < K; ++s) sum[s] += read(x + s * pixel) * g;
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
        for (int64_t most = kPixels; most > 1 && copied_x() > kCopy / 4;) boxes_ = Boxes(call.x.batch, sizes_, most /= 2);
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
        const size_t bytes = copied_x() + (gy_in_place_ ? 0 : boxes_.pixels() * channels_ * sizeof(A)) + 64;
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
        A* const copied_gy = reinterpret_cast<A*>(scratch + copied_x());
        for (int64_t b = boxes_.count() * segment / segments_; b < boxes_.count() * (segment + 1) / segments_; ++b) {
            const Box box = boxes_[b];
            Source<A> x{call_.x.at<const A>(0, 0, 0, 0, x_in_place_ ? first : 0), call_.x.step_n,
                        {call_.x.step[0], call_.x.step[1], call_.x.step[2]}};
            if (!x_in_place_) x = copy_region<T>(call_.x, gather_, box, first, channels, reinterpret_cast<A*>(scratch));
            Source<A> gy{call_.gy.at<const A>(0, 0, 0, 0, gy_in_place_ ? first : 0), call_.gy.step_n,
                         {call_.gy.step[0], call_.gy.step[1], call_.gy.step[2]}};
            if (!gy_in_place_) gy = copy_gy(box, first, channels, copied_gy);
            for (int64_t c = 0; c < channels; c += kLanes<A>) {
                const int n = static_cast<int>(smaller<int64_t>(kLanes<A>, channels - c));
                n == kLanes<A> ? add_box<true>(box, x, gy, c, n, sums_of) : add_box<false>(box, x, gy, c, n, sums_of);
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
    void add_box(const Box& box, const Source<A>& x, const Source<A>& gy, int64_t c, int n, double* sums_of) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t S = axis[2].taps.size(), R = axis[1].taps.size(), D = axis[0].taps.size();
        for (int64_t d = 0; d < D; ++d) {
            for (int64_t r = 0; r < R; ++r) {
                double* const to = sums_of + (d * R + r) * S * channels_ + c;
                const auto rows = [&](int64_t tap, const Span& span, auto use) {
                    const Span os = inside(0, d, box.begin[1], box.end[1]), ps = inside(1, r, box.begin[2], box.end[2]);
                    for (int64_t i = box.begin[0]; i < box.end[0]; ++i) {
                        for (int64_t o = os.begin; o < os.end; ++o) {
                            for (int64_t p = ps.begin; p < ps.end; ++p) {
                                use(Rows<A>{x.data + i * x.step_n + (o * axis[0].step + axis[0].taps[d].offset) * x.step[0] +
                                                (p * axis[1].step + axis[1].taps[r].offset) * x.step[1] +
                                                (span.begin * axis[2].step + axis[2].taps[tap].offset) * x.step[2] + c,
                                            gy.data + i * gy.step_n + o * gy.step[0] + p * gy.step[1] +
                                                span.begin * gy.step[2] + c,
                                            span.end - span.begin});
                            }
                        }
                    }
                };
                // Pixels for which all taps of the row lie inside are taken together, the others tap by tap.
                Span all{box.begin[3], box.begin[3]};
                switch (close_ ? S * 2 + axis[2].step - 1 : 0) {
                    case 6:
                        all = add_together<3, 1, kWhole>(box, rows, x.step[2], gy.step[2], n, to);
                        break;
                    case 7:
                        all = add_together<3, 2, kWhole>(box, rows, x.step[2], gy.step[2], n, to);
                        break;
                    case 10:
                        all = add_together<5, 1, kWhole>(box, rows, x.step[2], gy.step[2], n, to);
                        break;
                    case 11:
                        all = add_together<5, 2, kWhole>(box, rows, x.step[2], gy.step[2], n, to);
                        break;
                    default:
                        break;
                }
                for (int64_t s = 0; s < S; ++s) {
                    const Span span = inside(2, s, box.begin[3], box.end[3]);
                    const Span left{span.begin, smaller(span.end, larger(all.begin, span.begin))};
                    const Span right{larger(span.begin, smaller(all.end, span.end)), span.end};
                    Vector<A> sum[1] = {};
                    const auto use = [&](const Rows<A>& row) {
                        add_row<A, 1, 1, kWhole>(row, axis[2].step * x.step[2], gy.step[2], sum, n);
                    };
                    if (left.begin < left.end) rows(s, left, use);
                    if (right.begin < right.end) rows(s, right, use);
                    add_to(to + s * channels_, sum[0], n);
                }
            }
        }
    }

    // Returns the outputs that it took.
    template <int K, int kStep, bool kWhole, class EachRow>
    Span add_together(const Box& box, EachRow rows, int64_t pixel, int64_t next, int n, double* to) const {
        const Span first = inside(2, 0, box.begin[3], box.end[3]), last = inside(2, K - 1, box.begin[3], box.end[3]);
        const Span all{larger(first.begin, last.begin), smaller(first.end, last.end)};
        if (all.begin >= all.end) return {box.begin[3], box.begin[3]};
        Vector<A> sum[K] = {};
        rows(0, all, [&](const Rows<A>& row) { add_row<A, K, kStep, kWhole>(row, pixel, next, sum, n); });
        for (int s = 0; s < K; ++s) add_to(to + s * channels_, sum[s], n);
        return all;
    }

    static void add_to(double* to, Vector<A> sum, int n) {
        for (int i = 0; i < n; ++i) to[i] += sum[i];
    }

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
