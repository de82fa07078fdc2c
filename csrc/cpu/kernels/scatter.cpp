// The gradient of images with few channels: what each pixel of gy gives to its window, added up.
//
//   part[pixel of gy][tap][c] = sum over k of gy[pixel][k] * w[tap][c][k],   gx[pixel at tap][c] += part[pixel][tap][c]
//
// With few channels a gather would leave most of a vector empty; the taps and channels of all windows fill it.
// A thread owns the results of a tile: a box of pixels of gx, and one group. It takes the pixels of gy whose windows
// meet the box, some of a row at a time: one matrix product, whose rows of taps it adds to sums that it keeps for the
// box. Pixels of gy whose windows meet several boxes are multiplied for each of them.
// Layouts: any. gy is read where it is if its channels are neighbours of the computing type, else from a copy.
// Padding is neither read nor multiplied: what would fall beside the image is added to sums that nobody reads.
// Order: k in blocks of kBlock; then the windows of a pixel, row by row of gy, and within a row those of each kSome
// pixels in turns, so that neighbours whose windows overlap are not added one right after the other.
#include "activate.h"
#include "boxes.h"
#include "packing.h"
#include "source.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kSome = 8 * kRows;             // pixels of gy that are multiplied at a time
constexpr int64_t kSums = int64_t(512) << 10;    // bytes of the sums of a box
constexpr int64_t kPanels = int64_t(8) << 20;    // bytes of packed filters
constexpr int64_t kProducts = int64_t(2) << 20;  // bytes of what kSome pixels give
constexpr int64_t kTiles = 16;                   // so many tiles are enough for any number of threads
constexpr double kSmall = 1 << 17;

template <class T>
class Scatter {
    using A = Accumulator<T>;

public:
    Scatter(const ConvCall& call, const Gather& windows)
        : call_(call),
          windows_(windows),
          taps_(windows.taps()),
          run_(windows.axis[2].taps.size() * call.makes),
          columns_(taps_ * call.makes),
          width_(panel_width<A>(columns_)),
          padded_(parts(columns_, kLanes<A>) * kLanes<A>),
          sizes_{call.y.size[0], call.y.size[1], call.y.size[2]},
          boxes_(call.y.batch, sizes_, most_pixels()) {
        // Smaller boxes multiply more pixels of gy twice: they are at least some windows high.
        const GatherAxis& h = windows.axis[1];
        const int64_t least = 4 * (span(h) + 1) * sizes_[2];
        for (int64_t most = smaller(most_pixels(), call.y.batch * sizes_[0] * sizes_[1] * sizes_[2]);
             most / 2 >= least && boxes_.count() * call.groups < kTiles;) {
            boxes_ = Boxes(call.y.batch, sizes_, most /= 2);
        }
        in_place_ = sizeof(T) == sizeof(A) && (call.x.step_c == 1 || call.reads == 1);
    }

    // Whether a gather would waste much of a vector, and the taps of a row are neighbours.
    bool suits() const {
        const GatherAxis& w = windows_.axis[2];
        bool close = true;
        for (size_t s = 1; s < w.taps.size(); ++s) close &= w.taps[s].offset == w.taps[s - 1].offset + 1;
        const int64_t wide = parts(call_.makes, kLanes<A>) * kLanes<A>;
        return close && taps_ > 1 && taps_ <= kBlock && call_.reads >= (call_.groups == 1 ? 4 : 16) &&
               call_.makes < 2 * kLanes<A> && 4 * call_.makes < 3 * wide &&
               padded_ * call_.reads * call_.groups * bytes(1) <= kPanels && padded_ * bytes(kSome) <= kProducts &&
               bytes(sums()) <= 2 * kSums;
    }

    void run() {
        if (boxes_.count() == 0) return;
        const double products = static_cast<double>(call_.x.batch) * call_.x.size[0] * call_.x.size[1] *
                                call_.x.size[2] * columns_ * call_.reads * call_.groups;
        const int threads = products < kSmall ? 1 : call_.threads;
        const Memory panels(call_.groups * padded_ * bytes(call_.reads));
        panels_ = reinterpret_cast<A*>(panels.data());
        parallel_for(call_.groups * parts(columns_, width_), threads, 0, [&](int64_t i, char*) {
            pack(i / parts(columns_, width_), i % parts(columns_, width_) * width_);
        });
        parallel_for(boxes_.count() * call_.groups, threads, scratch_bytes(),
                     [&](int64_t i, char* scratch) { tile(boxes_[i / call_.groups], i % call_.groups, scratch); });
    }

private:
    static int64_t bytes(int64_t elements) { return elements * static_cast<int64_t>(sizeof(A)); }
    static int64_t span(const GatherAxis& axis) { return axis.taps[axis.taps.size() - 1].offset - axis.taps[0].offset; }
    int64_t most_pixels() const { return larger<int64_t>(kSums / bytes(call_.makes), 1); }

    // The sums of a row of pixels begin and end with those of pixels beside the box that windows reach, and end with
    // room for a whole vector.
    int64_t row() const { return (boxes_.part(3) + 2 * span(windows_.axis[2])) * call_.makes; }
    int64_t sums() const {
        const int64_t rows = boxes_.part(0) * boxes_.part(1) * boxes_.part(2);
        return rows > kTooMany / larger<int64_t>(row(), 1) ? kTooMany : rows * row() + kLanes<A>;
    }
    size_t scratch_bytes() const {
        return bytes(sums() + kSome * padded_ + (in_place_ ? 0 : kSome * call_.reads) + call_.groups * call_.makes) +
               2 * kSome * sizeof(A*) + 6 * 64;
    }
    template <class E>
    static E* cut(char*& at, int64_t count) {
        E* const piece = reinterpret_cast<E*>(at);
        at += parts(count * sizeof(E), 64) * 64;
        return piece;
    }

    // A panel of columns from `first`: a column for each tap and channel.
    void pack(int64_t group, int64_t first) const {
        const int64_t S = windows_.axis[2].taps.size(), R = windows_.axis[1].taps.size();
        const int width = panel_of<A>(columns_ - first, width_).width();
        A* const to = panels_ + group * padded_ * call_.reads + first * call_.reads;
        for (int64_t j = 0; j < width; ++j) {
            const int64_t tap = (first + j) / call_.makes, c = (first + j) % call_.makes;
            if (first + j >= columns_) {
                for (int64_t k = 0; k < call_.reads; ++k) to[k * width + j] = 0;
                continue;
            }
            const T* const from = reinterpret_cast<const T*>(call_.w.data) + group * call_.step_group +
                                  windows_.axis[0].taps[tap / S / R].filter * call_.w.step[0] +
                                  windows_.axis[1].taps[tap / S % R].filter * call_.w.step[1] +
                                  windows_.axis[2].taps[tap % S].filter * call_.w.step[2] + c * call_.w.step_k;
            for (int64_t k = 0; k < call_.reads; ++k) to[k * width + j] = widened(from[k * call_.w.step_c]);
        }
    }

    // The outputs of an axis whose windows meet pixels [begin, end).
    static Span meeting(const GatherAxis& axis, int64_t begin, int64_t end) {
        const int64_t first = axis.taps[0].offset, last = axis.taps[axis.taps.size() - 1].offset;
        const int64_t low = begin - last, high = end - first;  // m * step is from low to before high
        const int64_t from = low > 0 ? parts(low, axis.step) : 0;
        const int64_t to = smaller(high > 0 ? parts(high, axis.step) : 0, axis.count);
        return {from, larger(from, to)};
    }

    struct Scratch {
        A *sums, *products, *copy;
        const A** pixels;
        A** results;
    };

    void tile(const Box& box, int64_t group, char* memory) const {
        Scratch s;
        s.sums = cut<A>(memory, sums());
        s.products = cut<A>(memory, kSome * padded_);
        s.copy = cut<A>(memory, in_place_ ? 0 : kSome * call_.reads);
        s.pixels = cut<const A*>(memory, kSome);
        s.results = cut<A*>(memory, kSome);
        std::memset(s.sums, 0, bytes(sums()));
        for (int64_t p = 0; p < kSome; ++p) s.results[p] = s.products + p * padded_;
        Span rows[kAxes];
        for (int a = 0; a < kAxes; ++a) rows[a] = meeting(windows_.axis[a], box.begin[1 + a], box.end[1 + a]);
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = rows[0].begin; i < rows[0].end; ++i) {
                for (int64_t j = rows[1].begin; j < rows[1].end; ++j) {
                    for (int64_t k = rows[2].begin; k < rows[2].end; k += kSome) {
                        const int64_t count = smaller(kSome, rows[2].end - k);
                        multiply_pixels(n, i, j, k, count, group, s);
                        add_windows(box, n, i, j, k, count, s);
                    }
                }
            }
        }
        finish(box, group, s.sums);
    }

    void multiply_pixels(int64_t n, int64_t i, int64_t j, int64_t k, int64_t count, int64_t group,
                         const Scratch& s) const {
        const T* const from = call_.x.at<const T>(n, i, j, k, group * call_.reads);
        if (!in_place_) {
            fetch<T>(from, call_.x.step[2], call_.x.step_c, s.copy, call_.reads, count, call_.reads);
        }
        for (int64_t p = 0; p < parts(count, kRows) * kRows; ++p) {
            const int64_t at = smaller(p, count - 1);
            if constexpr (sizeof(T) == sizeof(A)) {
                s.pixels[p] = in_place_ ? from + at * call_.x.step[2] : s.copy + at * call_.reads;
            } else {
                s.pixels[p] = s.copy + at * call_.reads;
            }
        }
        const A* const filters = panels_ + group * padded_ * call_.reads;
        for (int64_t first = 0; first < columns_; first += width_) {
            const Panel<A> panel = panel_of<A>(padded_ - first, width_);
            const int width = panel.width();
            for (int64_t c = 0; c < call_.reads; c += kBlock) {
                const int64_t end = smaller(call_.reads, c + kBlock);
                for (int64_t p = 0; p < count; p += kRows) {
                    multiply(panel, Rows<A>{s.pixels + p, 0, kUnshifted}, 1, c, end,
                             filters + first * call_.reads + c * width, width, s.results + p, first,
                             static_cast<int>(smaller<int64_t>(kRows, count - p)), Finish<A>{c > 0, nullptr, false});
                }
            }
        }
    }

    // Adds what pixels k to k + count - 1 of a row of gy give to their windows, a row of taps at a time.
    void add_windows(const Box& box, int64_t n, int64_t i, int64_t j, int64_t k, int64_t count,
                     const Scratch& s) const {
        const GatherAxis* const axis = windows_.axis;
        const int64_t apart = axis[2].step * call_.makes, turns = parts(span(axis[2]) + 1, axis[2].step);
        const int64_t left = box.begin[3] - span(axis[2]);  // the pixel that a row of sums begins with
        for (size_t d = 0; d < axis[0].taps.size(); ++d) {
            const int64_t z = i * axis[0].step + axis[0].taps[d].offset;
            if (z < box.begin[1] || z >= box.end[1]) continue;
            for (size_t r = 0; r < axis[1].taps.size(); ++r) {
                const int64_t y = j * axis[1].step + axis[1].taps[r].offset;
                if (y < box.begin[2] || y >= box.end[2]) continue;
                const int64_t line =
                    ((n - box.begin[0]) * box.count(1) + z - box.begin[1]) * box.count(2) + y - box.begin[2];
                A* const to = s.sums + line * row() + (k * axis[2].step + axis[2].taps[0].offset - left) * call_.makes;
                const A* const from = s.products + (d * axis[1].taps.size() + r) * run_;
                for (int64_t turn = 0; turn < turns; ++turn) {
                    for (int64_t p = turn; p < count; p += turns) add_run(from + p * padded_, to + p * apart);
                }
            }
        }
    }

    void add_run(const A* from, A* to) const {
        int64_t c = 0;
        for (; c + kLanes<A> <= run_; c += kLanes<A>) store(to + c, load(to + c) + load(from + c));
        if (c == run_) return;
        const int some = static_cast<int>(run_ - c);
        store_first(to + c, load_first(to + c, some) + load_first(from + c, some), some);
    }

    void finish(const Box& box, int64_t group, A* sums) const {
        const int64_t makes = call_.makes, first = group * makes, count = box.count(3);
        A* line = sums + span(windows_.axis[2]) * makes;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j, line += row()) {
                    if (call_.bias) {
                        const T* const bias = static_cast<const T*>(call_.bias) + first;
                        for (int64_t p = 0; p < count; ++p) {
                            for (int64_t c = 0; c < makes; ++c) line[p * makes + c] += widened(bias[c]);
                        }
                    }
                    activate(call_.activation, line, count * makes);
                    deliver<T>(line, makes, call_.y.at<T>(n, i, j, box.begin[3], first), call_.y.step[2],
                               call_.y.step_c, count, makes);
                }
            }
        }
    }

    const ConvCall& call_;
    const Gather& windows_;
    int64_t taps_, run_, columns_;  // run_: taps and channels of a row of taps; columns_: of all
    int64_t width_, padded_;        // of a panel of columns; all columns, in whole vectors
    int64_t sizes_[kAxes];
    Boxes boxes_;
    bool in_place_;
    A* panels_ = nullptr;
};

}  // namespace

template <class T>
bool scatter(const ConvCall& call) {
    const int64_t pixels = call.y.batch * call.y.size[0] * call.y.size[1] * call.y.size[2];
    if (!call.windows || call.windows->taps() == 0 || call.reads == 0 || call.makes == 0 || pixels == 0) return false;
    Scatter<T> kernel(call, *call.windows);
    if (!kernel.suits()) return false;
    kernel.run();
    return true;
}

template bool scatter<Half>(const ConvCall&);
template bool scatter<BFloat16>(const ConvCall&);
template bool scatter<float>(const ConvCall&);
template bool scatter<double>(const ConvCall&);

}  // namespace convgpu::cpu::CONVGPU_ISA
