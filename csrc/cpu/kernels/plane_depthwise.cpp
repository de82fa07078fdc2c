// Depthwise convolution in three directions, where rows of pixels are neighbours (channels_first).
//
// A thread owns some planes, or parts of a plane, of the result; vectors lie along the rows. The rows that it reads are
// copied with their padding, and in the order in which neighbouring rows of results read neighbours. Results then are
// one long row: vector u of them reads vectors u + offset, one for each tap. What lies between two rows of results is
// computed too, and dropped. dgrad does so for each phase of the stride along the rows, and merges them.
// Layouts: channels_first. depthwise.cpp and depthwise_wgrad.cpp have the others.
// Padding is zeros in the copies. Filters, or gradients of filters, that are not finite are left to those files.
// Order: taps in ascending order of what they read. The gradient of the filters takes kBlock vectors in a sequence,
// adds kNear of these and their lanes, and then these in float64.
#include "../gather.h"
#include "planes.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kMostTaps = kBlock;
constexpr int64_t kNear = 32;  // blocks of terms that are added before float64 takes over
constexpr double kSmall = 1 << 17;
constexpr int64_t kPartials = int64_t(16) << 20;

// A tap as the distance from the first pixel that any tap reads, and which of the filter's taps it is.
struct PlaneTap {
    int64_t at[kAxes];
    int64_t filter;  // in elements of the filters
};

// What the rows of some results read.
template <class T>
class Window {
    using A = Accumulator<T>;

public:
    // `phases` are the gathers of a result whose rows have that many phases; they differ in the last axis alone.
    Window(const Gather* phases, int64_t count, const Filters& w) : phases_(phases), count_(count) {
        for (int a = 0; a < kAxes; ++a) {
            int64_t last = INT64_MIN;
            first_[a] = INT64_MAX;
            for (int64_t f = 0; f < count; ++f) {
                for (const Tap& tap : phases[f].axis[a].taps) {
                    first_[a] = smaller(first_[a], tap.offset);
                    last = larger(last, tap.offset);
                }
            }
            reach_[a] = last < first_[a] ? 0 : last - first_[a];
            if (last < first_[a]) first_[a] = 0;
        }
        for (int64_t f = 0; f < count; ++f) {
            for (const Tap& d : phases[f].axis[0].taps) {
                for (const Tap& r : phases[f].axis[1].taps) {
                    for (const Tap& s : phases[f].axis[2].taps) {
                        if (taps_ == kMostTaps) {
                            many_ = true;
                            continue;
                        }
                        tap_[taps_++] = {{d.offset - first_[0], r.offset - first_[1], s.offset - first_[2]},
                                         d.filter * w.step[0] + r.filter * w.step[1] + s.filter * w.step[2]};
                    }
                }
            }
            end_[f < kMostPhases ? f : 0] = taps_;
        }
    }

    static constexpr int64_t kMostPhases = 8;
    bool suits() const { return !many_ && count_ <= kMostPhases; }
    int64_t taps() const { return taps_; }
    int64_t begin(int64_t f) const { return f == 0 ? 0 : end_[f - 1]; }
    int64_t end(int64_t f) const { return end_[f]; }
    const PlaneTap& tap(int64_t i) const { return tap_[i]; }
    const GatherAxis& axis(int a) const { return phases_[0].axis[a]; }
    int64_t phases() const { return count_; }

    // The first pixel that result i of an axis reads, and how many pixels n results read.
    int64_t first(int a, int64_t i) const { return i * axis(a).step + first_[a]; }
    int64_t span(int a, int64_t n) const { return (n - 1) * axis(a).step + reach_[a] + 1; }
    // Rows are copied in this order: those that are a step apart follow each other.
    int64_t rows(int64_t n) const { return parts(span(1, n), axis(1).step); }  // of each of them
    int64_t slot(int64_t row, int64_t rows) const {
        const int64_t step = axis(1).step;
        return step == 1 ? row : row % step * rows + row / step;
    }

    RowCopies<A> copies(const Images& x, int64_t planes, int64_t rows, int64_t begin, int64_t count) const {
        PoolAxis axis;
        axis.stride = this->axis(2).step;
        axis.window = reach_[2] + 1;
        return RowCopies<A>(axis, x.size[2], first(2, begin), count, planes * slots(rows));
    }
    int64_t slots(int64_t n) const { return rows(n) * axis(1).step; }

    // Copies what the results of a box read of one plane of x, and splits it. Rows outside x stay as they were filled.
    const A* read(const RowCopies<A>& copies, const Images& x, const Plane& plane, const Box& box, A* rows,
                  A* phases) const {
        const int64_t each = this->rows(box.count(2)), all = slots(box.count(2));
        for (int64_t d = 0; d < span(0, box.count(1)); ++d) {
            for (int64_t h = 0; h < span(1, box.count(2)); ++h) {
                const int64_t at[2] = {first(0, box.begin[1]) + d, first(1, box.begin[2]) + h};
                if (at[0] < 0 || at[0] >= x.size[0] || at[1] < 0 || at[1] >= x.size[1]) continue;
                copies.copy(plane.row<const T>(x, at[0], at[1], 0), rows + (d * all + slot(h, each)) * copies.pitch());
            }
        }
        return copies.phases_of(rows, phases);
    }
    // Where each tap of the first result is.
    void find_taps(const RowCopies<A>& copies, int64_t rows, int64_t* offsets) const {
        const int64_t each = this->rows(rows), all = slots(rows);
        for (int64_t i = 0; i < taps_; ++i) {
            offsets[i] = (tap_[i].at[0] * all + slot(tap_[i].at[1], each)) * copies.step() + copies.at(tap_[i].at[2]);
        }
    }

private:
    const Gather* phases_;
    int64_t count_, taps_ = 0, first_[kAxes], reach_[kAxes], end_[kMostPhases] = {};
    bool many_ = false;
    PlaneTap tap_[kMostTaps];
};

// to[u] = the sum of x[u + offset] * w over the taps, for `V` vectors.
template <class A, int V>
CONVGPU_INLINE void add_products(const A* x, const int64_t* offsets, const A* w, int64_t taps, A* to) {
    Vector<A> sum[V] = {};
    for (int64_t t = 0; t < taps; ++t) {
        const A* const from = x + offsets[t];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[v] += load(from + v * kLanes<A>) * w[t];
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(to + v * kLanes<A>, sum[v]);
}

template <class T>
class DepthwisePlanes {
    using A = Accumulator<T>;

public:
    DepthwisePlanes(const ConvCall& call, const Gather* phases, int64_t count)
        : call_(call), window_(phases, count, call.w), cut_(call.y) {
        for (int a = 0; a < kAxes; ++a) cut_.size[a] = phases[0].axis[a].count;
        if (window_.suits()) boxes_ = plane_boxes(cut_, [&](const Boxes& boxes) { return bytes(boxes); });
    }

    bool suits() const { return window_.suits() && bytes(boxes_) <= 16 * kPlaneBytes; }
    void run() const {
        const double products = static_cast<double>(call_.x.batch) * cut_.size[0] * cut_.size[1] * cut_.size[2] *
                                window_.taps() * call_.groups;
        parallel_for(boxes_.count(), products < kSmall ? 1 : call_.threads, bytes(boxes_),
                     [&](int64_t i, char* scratch) { tile(boxes_[i], scratch); });
    }

private:
    static constexpr int kTogether = 4;

    RowCopies<A> copies(int64_t planes, int64_t rows, int64_t begin, int64_t count) const {
        return window_.copies(call_.x, window_.span(0, planes), rows, begin, count);
    }
    // Results between two rows are computed too, and whole groups of vectors.
    static int64_t results(const RowCopies<A>& copies, int64_t rows) {
        return parts(rows * copies.step(), kTogether * kLanes<A>) * kTogether * kLanes<A>;
    }
    int64_t bytes(const Boxes& boxes) const {
        const RowCopies<A> most = copies(boxes.part(1), boxes.part(2), 0, boxes.part(3));
        return Room::bytes_of<int64_t>(kMostTaps) + Room::bytes_of<A>(kMostTaps) +
               Room::bytes_of<A>(most.copied() + kTogether * kLanes<A>) +
               Room::bytes_of<A>(most.split() + kTogether * kLanes<A>) +
               Room::bytes_of<A>(window_.phases() * (results(most, boxes.part(2)) + kLanes<A>)) +
               Room::bytes_of<A>(window_.phases() * (boxes.part(3) + 2 * kLanes<A>));
    }

    void tile(const Box& box, char* scratch) const {
        const RowCopies<A> copies = this->copies(box.count(1), box.count(2), box.begin[3], box.count(3));
        const int64_t length = results(copies, box.count(2)) + kLanes<A>;
        Room room(scratch);
        int64_t* const offsets = room.take<int64_t>(kMostTaps);
        A* const w = room.take<A>(kMostTaps);
        A* const rows = room.take<A>(copies.copied() + kTogether * kLanes<A>);
        A* const split = room.take<A>(copies.split() + kTogether * kLanes<A>);
        A* const found = room.take<A>(window_.phases() * length);
        A* const merged = room.take<A>(window_.phases() * (box.count(3) + 2 * kLanes<A>));
        window_.find_taps(copies, box.count(2), offsets);
        copies.fill(0, rows);
        const GatherAxis* const axis[kAxes] = {&window_.axis(0), &window_.axis(1), &window_.axis(2)};
        const bool rectified = call_.activation == Activation::kRelu;
        PoolAxis along;  // the row of results, phase by phase
        along.stride = window_.phases();
        const int64_t first = box.begin[3] * window_.phases();
        const int64_t n = smaller(call_.y.size[2], box.end[3] * window_.phases()) - first;
        const Merged<A> row(along, first, first + n);
        const int64_t plane_step = window_.slots(box.count(2)) * copies.step() * axis[0]->step;
        for_each_plane(cut_, box, [&](const Plane& plane) {
            const A* const x = window_.read(copies, call_.x, plane, box, rows, split);
            const T* const filter = reinterpret_cast<const T*>(call_.w.data) + plane.c * call_.step_group;
            for (int64_t t = 0; t < window_.taps(); ++t) w[t] = widened(filter[window_.tap(t).filter]);
            const A bias = call_.bias ? widened(static_cast<const T*>(call_.bias)[plane.c]) : A(0);
            for (int64_t o = 0; o < box.count(1); ++o) {
                for (int64_t f = 0; f < window_.phases(); ++f) {
                    const int64_t begin = window_.begin(f), taps = window_.end(f) - begin;
                    for (int64_t u = 0; u < length - kLanes<A>; u += kTogether * kLanes<A>) {
                        add_products<A, kTogether>(x + o * plane_step + u, offsets + begin, w + begin, taps,
                                                   found + f * length + u);
                    }
                }
                for (int64_t p = 0; p < box.count(2); ++p) {
                    const A* const from = found + p * copies.step();
                    T* const y = plane.row<T>(call_.y, axis[0]->first + (box.begin[1] + o) * axis[0]->apart,
                                              axis[1]->first + (box.begin[2] + p) * axis[1]->apart, first);
                    write_phases(row, merged, y, n, [&](int64_t f, int64_t i) __attribute__((always_inline)) {
                        const Vector<A> sum = load(from + f * length + i) + bias;
                        return rectified ? (sum <= 0 ? Vector<A>{} : sum) : sum;
                    });
                }
            }
        });
    }

    const ConvCall& call_;
    Window<T> window_;
    Images cut_;  // the results of one phase
    Boxes boxes_{0, {0, 0, 0}, 1};
};

// Whether all filters are finite.
template <class T>
bool finite(const ConvCall& call, const Gather& gather) {
    Accumulator<T> sum = 0;
    for (const Tap& d : gather.axis[0].taps) {
        for (const Tap& r : gather.axis[1].taps) {
            for (const Tap& s : gather.axis[2].taps) {
                const T* const w = reinterpret_cast<const T*>(call.w.data) + d.filter * call.w.step[0] +
                                   r.filter * call.w.step[1] + s.filter * call.w.step[2];
                for (int64_t c = 0; c < call.groups; ++c) sum += widened(w[c * call.step_group]) * 0;
            }
        }
    }
    return sum == 0;
}

// The gradient of the filters: gw[tap] = the sum over the pixels of a channel of x[pixel at tap] * gy[pixel].
template <class T>
class DepthwiseGradientPlanes {
    using A = Accumulator<T>;

public:
    explicit DepthwiseGradientPlanes(const WgradCall& call)
        : call_(call), window_(call.gather, 1, call.gw), pixels_(call.gy) {
        if (!window_.suits()) return;
        pixels_.batch = pixels_.channels = 1;
        boxes_ = plane_boxes(pixels_, [&](const Boxes& boxes) { return bytes(boxes); });
        segments_ = smaller<int64_t>(call.x.batch, parts(32, call.groups));
    }

    bool suits() const {
        return window_.suits() && bytes(boxes_) <= 16 * kPlaneBytes &&
               segments_ * call_.groups * window_.taps() * 8 <= kPartials;
    }

    // False if some gradient is not finite: it may be so because of a product with padding.
    bool run() const {
        const Memory memory(segments_ * call_.groups * window_.taps() * sizeof(double));
        double* const partials = reinterpret_cast<double*>(memory.data());
        const double products =
            static_cast<double>(call_.gy.batch) * call_.gather->pixels() * window_.taps() * call_.groups;
        parallel_for(segments_ * call_.groups, products < kSmall ? 1 : call_.threads, bytes(boxes_),
                     [&](int64_t i, char* scratch) {
                         add_planes(i % call_.groups, i / call_.groups, partials + i * window_.taps(), scratch);
                     });
        double all = 0;
        for (int64_t i = 0; i < segments_ * call_.groups * window_.taps(); ++i) all += partials[i] * 0;
        if (all != 0) return false;
        for (int64_t c = 0; c < call_.groups; ++c) {
            T* const to = reinterpret_cast<T*>(call_.gw.data) + c * call_.step_group;
            for (int64_t t = 0; t < window_.taps(); ++t) {
                double sum = 0;
                for (int64_t s = 0; s < segments_; ++s) sum += partials[(s * call_.groups + c) * window_.taps() + t];
                to[window_.tap(t).filter] = narrowed<T>(static_cast<A>(sum));
            }
        }
        return true;
    }

private:
    RowCopies<A> x_copies(int64_t planes, int64_t rows, int64_t begin, int64_t count) const {
        return window_.copies(call_.x, window_.span(0, planes), rows, begin, count);
    }
    int64_t bytes(const Boxes& boxes) const {
        const RowCopies<A> most = x_copies(boxes.part(1), boxes.part(2), 0, boxes.part(3));
        return Room::bytes_of<int64_t>(kMostTaps) + Room::bytes_of<A>(kMostTaps * kLanes<A>) +
               Room::bytes_of<A>(most.copied()) + Room::bytes_of<A>(most.split()) +
               Room::bytes_of<A>(boxes.part(2) * most.step() + kLanes<A>);
    }

    void add_planes(int64_t c, int64_t segment, double* sums, char* scratch) const {
        for (int64_t t = 0; t < window_.taps(); ++t) sums[t] = 0;
        const Range planes = {call_.x.batch * segment / segments_, call_.x.batch * (segment + 1) / segments_};
        for (int64_t i = 0; i < boxes_.count(); ++i) add_box(c, planes, boxes_[i], sums, scratch);
    }

    void add_box(int64_t c, Range planes, const Box& box, double* sums, char* scratch) const {
        const RowCopies<A> copies = x_copies(box.count(1), box.count(2), box.begin[3], box.count(3));
        const int64_t n = box.count(2) * copies.step(), taps = window_.taps();
        Room room(scratch);
        int64_t* const offsets = room.take<int64_t>(kMostTaps);
        A* const near = room.take<A>(kMostTaps * kLanes<A>);  // a vector of sums for each tap
        A* const rows = room.take<A>(copies.copied());
        A* const split = room.take<A>(copies.split());
        A* const gy = room.take<A>(n + kLanes<A>);  // rows as far apart as those of x, with zeros between them
        window_.find_taps(copies, box.count(2), offsets);
        copies.fill(0, rows);
        for (int64_t i = 0; i < n + kLanes<A>; ++i) gy[i] = 0;
        for (int64_t i = 0; i < taps * kLanes<A>; ++i) near[i] = 0;
        const int64_t plane_step = window_.slots(box.count(2)) * copies.step() * window_.axis(0).step;
        const int64_t blocks = parts(n, kBlock * kLanes<A>);
        int64_t added = 0;  // blocks, since `near` was added to `sums`
        const auto empty = [&] {
            for (int64_t t = 0; t < taps; ++t) {
                sums[t] += static_cast<double>(sum_lanes<A>(load(near + t * kLanes<A>)));
                store(near + t * kLanes<A>, Vector<A>{});
            }
            added = 0;
        };
        for (int64_t plane = planes.begin; plane < planes.end; ++plane) {
            const Plane at{plane, c};
            const A* const x = window_.read(copies, call_.x, at, box, rows, split);
            for (int64_t o = 0; o < box.count(1); ++o) {
                for (int64_t p = 0; p < box.count(2); ++p) {
                    const T* const row = at.row<const T>(call_.gy, box.begin[1] + o, box.begin[2] + p, box.begin[3]);
                    take_every(row, 1, gy + p * copies.step(), box.count(3));
                }
                add_all_taps(x + o * plane_step, gy, n, offsets, near);
                if ((added += blocks) >= kNear) empty();
            }
        }
        empty();
    }

    void add_all_taps(const A* x, const A* gy, int64_t n, const int64_t* offsets, A* near) const {
        int64_t t = 0;
        for (; t + 9 <= window_.taps(); t += 9) add_taps<9>(x, gy, n, offsets + t, near + t * kLanes<A>);
        for (; t + 3 <= window_.taps(); t += 3) add_taps<3>(x, gy, n, offsets + t, near + t * kLanes<A>);
        for (; t < window_.taps(); ++t) add_taps<1>(x, gy, n, offsets + t, near + t * kLanes<A>);
    }

    template <int K>
    static void add_taps(const A* x, const A* gy, int64_t n, const int64_t* offsets, A* near) {
        const A* from[K];
        for (int k = 0; k < K; ++k) from[k] = x + offsets[k];
        for (int64_t begin = 0; begin < n; begin += kBlock * kLanes<A>) {
            Vector<A> sum[K] = {};
            for (int64_t u = begin; u < smaller(n, begin + kBlock * kLanes<A>); u += kLanes<A>) {
                const Vector<A> g = load(gy + u);
#pragma GCC unroll 9
                for (int k = 0; k < K; ++k) sum[k] += load(from[k] + u) * g;
            }
#pragma GCC unroll 9
            for (int k = 0; k < K; ++k) store(near + k * kLanes<A>, load(near + k * kLanes<A>) + sum[k]);
        }
    }

    const WgradCall& call_;
    Window<T> window_;
    Images pixels_;
    Boxes boxes_{0, {0, 0, 0}, 1};
    int64_t segments_ = 1;
};

}  // namespace

template <class T>
bool depthwise_planes(const ConvCall& call) {
    if (call.reads != 1 || call.makes != 1 || call.groups == 1) return false;
    if (!has_planes(call.x) || !has_planes(call.y)) return false;
    if (call.activation != Activation::kNone && call.activation != Activation::kRelu) return false;
    const std::vector<Gather>& gathers = *call.gathers;
    const auto phases_at = [&](size_t i) {
        size_t end = i;
        const auto& first = gathers[i].axis;
        while (end < gathers.size() && gathers[end].axis[0].first == first[0].first &&
               gathers[end].axis[1].first == first[1].first) {
            ++end;
        }
        return static_cast<int64_t>(end - i);
    };
    for (size_t i = 0; i < gathers.size(); i += phases_at(i)) {
        const int64_t phases = phases_at(i);
        if (phases != gathers[i].axis[2].apart && phases != call.y.size[2]) return false;
        if (!DepthwisePlanes<T>(call, &gathers[i], phases).suits()) return false;
    }
    for (const Gather& gather : gathers) {
        if (gather.padded && !finite<T>(call, gather)) return false;
    }
    for (size_t i = 0; i < gathers.size(); i += phases_at(i)) {
        DepthwisePlanes<T>(call, &gathers[i], phases_at(i)).run();
    }
    return true;
}

template <class T>
bool depthwise_wgrad_planes(const WgradCall& call) {
    if (!has_planes(call.x) || !has_planes(call.gy)) return false;
    const DepthwiseGradientPlanes<T> kernel(call);
    return kernel.suits() && kernel.run();
}

#define CONVGPU_PLANES(T)                               \
    template bool depthwise_planes<T>(const ConvCall&); \
    template bool depthwise_wgrad_planes<T>(const WgradCall&);
CONVGPU_PLANES(Half)
CONVGPU_PLANES(BFloat16)
CONVGPU_PLANES(float)
CONVGPU_PLANES(double)

}  // namespace convgpu::cpu::CONVGPU_ISA
