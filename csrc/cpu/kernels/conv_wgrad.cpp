// The filters' gradient: gw[tap][c][k] = sum over pixels of x[pixel at tap][c] * gy[pixel][k].
//
// A thread owns a block of gw (some taps, channels and filters of one group) for one segment of the pixels. It takes
// the pixels of its segment box by box: it packs x as [tile of channels][pixel][kRows] and gy as
// [panel][pixel][kWidth], and for each tap multiplies the runs of pixels whose tap lies inside, so that padding is
// never multiplied. Layouts: any. Where channels are few, a row of taps takes the place of the channels; then padding
// is multiplied, and should gw not be finite, it is computed once more without that. Order: pixels in groups of kBlock,
// these within a box, boxes within a segment, then the segments. Boxes and segments follow from the geometry alone.
#include "boxes.h"
#include "packing.h"
#include "source.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = 512;                  // of a box, where they fit
constexpr int64_t kCopy = 768 << 10;              // bytes of packed pixels of x, and of gy
constexpr int64_t kResults = 256 << 10;           // elements of gw that a thread owns at a time
constexpr int64_t kColumns = 1024;                // filters that a thread owns at a time
constexpr int64_t kTasks = 16;                    // so many tasks are enough for any number of threads
constexpr int64_t kSegment = 1024;                // a segment has at least so many pixels
constexpr int64_t kPartials = int64_t(16) << 20;  // bytes of the sums of all segments
constexpr size_t kLongestRun = 64;                // taps of a row that may take the place of the channels
constexpr int64_t kFewChannels = 16;              // with fewer channels, a row of taps takes their place
constexpr double kSmall = 1 << 17;

// Neighbouring pixels of gy from the g-th one of a box, and where the first one's tap lies in the packed x.
struct Run {
    int64_t x, g, n;
};

// to[lane][k] (+)= sum over the runs of x[pixel][lane] * gy[pixel][k].
template <class A, int V>
__attribute__((noinline)) void multiply_runs(const A* x, const A* gy, const Run* run, int64_t runs, int64_t step, A* to,
                                             bool add) {
    using Vec = Vector<A>;
    constexpr int L = kLanes<A>;
    Vec sum[kRows][V];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] = Vec{};
    }
    for (int64_t i = 0; i < runs; ++i) {
        const A *a = x + run[i].x * kRows, *b = gy + run[i].g * V * L;
        for (int64_t p = run[i].n; p > 0; --p, a += step * kRows, b += V * L) {
            Vec g[V];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) g[v] = load(b + v * L);
#pragma GCC unroll 6
            for (int r = 0; r < kRows; ++r) {
                const Vec all = broadcast(a[r]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) sum[r][v] += all * g[v];
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            A* const at = to + (r * V + v) * L;
            store(at, add ? load(at) + sum[r][v] : sum[r][v]);
        }
    }
}

template <class A>
CONVGPU_INLINE void multiply_runs(int vectors, const A* x, const A* gy, const Run* run, int64_t runs, int64_t step,
                                  A* to, bool add) {
    switch (vectors) {
        case 1:
            return multiply_runs<A, 1>(x, gy, run, runs, step, to, add);
        case 2:
            return multiply_runs<A, 2>(x, gy, run, runs, step, to, add);
#if defined(__AVX512F__) || defined(__aarch64__)
        case 3:
            return multiply_runs<A, 3>(x, gy, run, runs, step, to, add);
        default:
            return multiply_runs<A, 4>(x, gy, run, runs, step, to, add);
#endif
    }
}

template <class T>
class WeightGradient {
    using A = Accumulator<T>;

public:
    WeightGradient(const WgradCall& call, bool merged)
        : call_(call),
          gather_(*call.gather),
          merged_(merged),
          width_(merged ? gather_.axis[2].taps.size() : 1),
          rows_(gather_.taps() / width_),
          lanes_(call.channels * width_),
          tiles_(parts(lanes_, kRows)),
          panels_(parts(call.filters, kWidth<A>)),
          padded_(parts(call.filters, kLanes<A>) * kLanes<A>),
          sizes_{gather_.axis[0].count, gather_.axis[1].count, gather_.axis[2].count},
          boxes_(call.x.batch, sizes_, kPixels) {
        plan();
    }

    // Whether a row of taps may take the place of the channels: then all taps must be packed together.
    bool suits() const { return !(merged_ && tap_by_tap_); }

    void run() {
        const double products = static_cast<double>(boxes_.count()) * boxes_.pixels() * gather_.taps() *
                                call_.channels * call_.filters * call_.groups;
        const int threads = products < kSmall ? 1 : call_.threads;
        const int64_t blocks = row_blocks_ * tile_blocks_ * panel_blocks_ * call_.groups;
        const Memory partials(segments_ > 1 ? segments_ * all() * sizeof(A) : 0);
        partials_ = reinterpret_cast<A*>(partials.data());
        parallel_for(blocks * segments_, threads, scratch_bytes(),
                     [&](int64_t i, char* scratch) { block(i / segments_, i % segments_, scratch); });
        if (segments_ == 1) return;
        parallel_for(call_.groups * rows_ * width_, threads, 0, [&](int64_t i, char*) { add_segments(i); });
    }

private:
    int64_t all() const { return call_.groups * rows_ * lanes_ * padded_; }  // the elements of gw, in whole vectors

    void plan() {
        each_panels_ = smaller(panels_, kColumns / kWidth<A>);
        const int64_t columns = each_panels_ * kWidth<A>;
        each_rows_ = smaller(rows_, larger<int64_t>(kResults / (kRows * columns), 1));
        each_tiles_ = smaller(tiles_, larger<int64_t>(kResults / (kRows * columns * each_rows_), 1));
        // x is packed once for each tap if the region that a box of few pixels covers is too large.
        const auto fits = [&](const Boxes& boxes) {
            const int64_t pixels = smaller<int64_t>(boxes.pixels(), int64_t(1) << 40);
            return region(boxes) * each_tiles_ * kRows * static_cast<int64_t>(sizeof(A)) <= kCopy &&
                   pixels * columns * static_cast<int64_t>(sizeof(A)) <= kCopy;
        };
        for (int64_t most = kPixels; !fits(boxes_) && most > 1;) boxes_ = Boxes(call_.x.batch, sizes_, most /= 2);
        if (region(boxes_) > 4 * boxes_.pixels() * gather_.taps() || !fits(boxes_)) {
            tap_by_tap_ = true;
            boxes_ = Boxes(call_.x.batch, sizes_, kPixels);
            for (int64_t most = kPixels; !fits(boxes_) && most > 1;) boxes_ = Boxes(call_.x.batch, sizes_, most /= 2);
        }
        row_blocks_ = parts(rows_, each_rows_);
        tile_blocks_ = parts(tiles_, each_tiles_);
        panel_blocks_ = parts(panels_, each_panels_);
        const int64_t blocks = row_blocks_ * tile_blocks_ * panel_blocks_ * call_.groups;
        const int64_t pixels = call_.x.batch * gather_.pixels();
        segments_ = larger<int64_t>(smaller(parts(kTasks, blocks), pixels / kSegment), 1);
        segments_ = larger<int64_t>(smaller(segments_, kPartials / (all() * static_cast<int64_t>(sizeof(A)))), 1);
        segments_ = smaller(segments_, boxes_.count());
    }

    // The taps of an axis that are packed together: all of them, or one.
    struct Taps {
        int64_t begin[kAxes], end[kAxes];
    };
    Taps taps_of(int64_t row) const {
        const int64_t S = merged_ ? 1 : gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        const int64_t d = row / S / R, r = row / S % R, s = row % S;
        return {{d, r, s}, {d + 1, r + 1, merged_ ? static_cast<int64_t>(gather_.axis[2].taps.size()) : s + 1}};
    }
    Taps packed_taps(int64_t row) const {
        if (tap_by_tap_) return taps_of(row);
        Taps all{};
        for (int a = 0; a < kAxes; ++a) all.end[a] = gather_.axis[a].taps.size();
        return all;
    }

    // The pixels of an axis that a range of outputs reads through some taps: `count` of them, `apart` from each other,
    // from `begin`. One tap reads every step-th pixel only; several taps are given all pixels between the first and the
    // last one, within the image.
    struct Line {
        int64_t begin, count, apart;
    };
    Line line(int a, int64_t begin, int64_t end, const Taps& taps) const {
        const GatherAxis& axis = gather_.axis[a];
        const int64_t first = begin * axis.step + axis.taps[taps.begin[a]].offset;
        if (taps.end[a] - taps.begin[a] == 1 || (a == 2 && merged_)) return {first, end - begin, axis.step};
        const int64_t low = larger<int64_t>(first, 0);
        const int64_t high = smaller((end - 1) * axis.step + axis.taps[taps.end[a] - 1].offset + 1, call_.x.size[a]);
        return {low, larger<int64_t>(high - low, 0), 1};
    }

    int64_t region(const Boxes& boxes) const {
        int64_t pixels = boxes.part(0);
        for (int a = 0; a < kAxes; ++a) {
            const GatherAxis& axis = gather_.axis[a];
            const int64_t part = boxes.part(1 + a);
            if (tap_by_tap_ || axis.taps.size() == 1 || (a == 2 && merged_)) {
                pixels *= part;
            } else {
                const int64_t span =
                    (part - 1) * axis.step + axis.taps[axis.taps.size() - 1].offset - axis.taps[0].offset;
                pixels *= larger<int64_t>(smaller(span + 1, call_.x.size[a]), 1);
            }
        }
        return pixels;
    }

    struct Scratch {
        A *x, *gy, *sums, *part, *row;
        Run* runs;
    };
    int64_t most_runs() const { return 2 * boxes_.pixels() + 1; }
    template <class E>
    static E* cut(char*& at, int64_t count) {
        E* const piece = reinterpret_cast<E*>(at);
        at += parts(count * sizeof(E), 64) * 64;
        return piece;
    }
    size_t scratch_bytes() const {
        const int64_t elements = region(boxes_) * each_tiles_ * kRows + boxes_.pixels() * each_panels_ * kWidth<A> +
                                 each_rows_ * each_tiles_ * kRows * each_panels_ * kWidth<A> + kRows * kWidth<A> +
                                 fetched_elements();
        return elements * sizeof(A) + most_runs() * sizeof(Run) + 6 * 64;
    }
    // A row of pixels is first fetched as it is, then cut into tiles of channels.
    int64_t fetched_elements() const {
        const GatherAxis& axis = gather_.axis[2];
        int64_t pixels = boxes_.part(3);
        if (!tap_by_tap_ && axis.taps.size() > 1) {
            pixels = (pixels - 1) * axis.step + axis.taps[axis.taps.size() - 1].offset - axis.taps[0].offset + 1;
            if (!merged_) pixels = larger<int64_t>(smaller(pixels, call_.x.size[2]), 1);
        }
        return pixels * (merged_ ? call_.channels : each_tiles_ * kRows) + kRows;
    }

    void block(int64_t i, int64_t segment, char* memory) const {
        const int64_t panel_block = i % panel_blocks_, tile_block = i / panel_blocks_ % tile_blocks_;
        const int64_t row_block = i / panel_blocks_ / tile_blocks_ % row_blocks_;
        const int64_t group = i / panel_blocks_ / tile_blocks_ / row_blocks_;
        const int64_t rows[2] = {row_block * each_rows_, smaller(rows_, (row_block + 1) * each_rows_)};
        const int64_t tiles[2] = {tile_block * each_tiles_, smaller(tiles_, (tile_block + 1) * each_tiles_)};
        const int64_t panels[2] = {panel_block * each_panels_, smaller(panels_, (panel_block + 1) * each_panels_)};
        Scratch s;
        s.x = cut<A>(memory, region(boxes_) * each_tiles_ * kRows);
        s.gy = cut<A>(memory, boxes_.pixels() * each_panels_ * kWidth<A>);
        s.sums = cut<A>(memory, each_rows_ * each_tiles_ * kRows * each_panels_ * kWidth<A>);
        s.part = cut<A>(memory, kRows * kWidth<A>);
        s.row = cut<A>(memory, fetched_elements());
        s.runs = cut<Run>(memory, most_runs());
        const int64_t columns = (panels[1] - panels[0]) * kWidth<A>;
        std::memset(s.sums, 0, (rows[1] - rows[0]) * (tiles[1] - tiles[0]) * kRows * columns * sizeof(A));
        for (int64_t b = boxes_.count() * segment / segments_; b < boxes_.count() * (segment + 1) / segments_; ++b) {
            const Box box = boxes_[b];
            pack_gy(box, group, panels, s.gy);
            for (int64_t row = rows[0]; row < rows[1]; ++row) {
                if (row == rows[0] || tap_by_tap_) pack_x(box, packed_taps(row), group, tiles, s);
                const int64_t runs = find_runs(box, packed_taps(row), taps_of(row), s.runs);
                if (runs == 0) continue;
                const int64_t slots = packed_pixels(box, packed_taps(row));
                for (int64_t panel = panels[0]; panel < panels[1]; ++panel) {
                    const A* const gy = s.gy + (panel - panels[0]) * kWidth<A> * box.pixels();
                    const int vectors = panel_of<A>(call_.filters - panel * kWidth<A>).vectors;
                    for (int64_t tile = tiles[0]; tile < tiles[1]; ++tile) {
                        const A* const x = s.x + (tile - tiles[0]) * slots * kRows;
                        sum_runs(vectors, x, gy, s.runs, runs, x_step(packed_taps(row)), s.part);
                        A* const to = s.sums +
                                      ((row - rows[0]) * (tiles[1] - tiles[0]) + tile - tiles[0]) * kRows * columns +
                                      (panel - panels[0]) * kWidth<A>;
                        for (int r = 0; r < kRows; ++r) {
                            for (int v = 0; v < vectors; ++v) {
                                A* const at = to + r * columns + v * kLanes<A>;
                                store(at, load(at) + load(s.part + (r * vectors + v) * kLanes<A>));
                            }
                        }
                    }
                }
            }
        }
        for (int64_t row = rows[0]; row < rows[1]; ++row) {
            const A* const from = s.sums + (row - rows[0]) * (tiles[1] - tiles[0]) * kRows * columns;
            const int64_t lane = tiles[0] * kRows, lanes = smaller(lanes_, tiles[1] * kRows) - lane;
            const int64_t first = panels[0] * kWidth<A>,
                          filters = smaller(call_.filters, panels[1] * kWidth<A>) - first;
            if (segments_ == 1) {
                put(from, columns, group, row, lane, lanes, first, filters);
                continue;
            }
            A* const to = partials_ + segment * all() + ((group * rows_ + row) * lanes_ + lane) * padded_ + first;
            for (int64_t l = 0; l < lanes; ++l) widen(from + l * columns, to + l * padded_, filters);
        }
    }

    // How many packed pixels of x lie between the taps of two neighbouring pixels of gy.
    int64_t x_step(const Taps& packed) const {
        return merged_ || packed.end[2] - packed.begin[2] == 1 ? 1 : gather_.axis[2].step;
    }
    int64_t packed_pixels(const Box& box, const Taps& taps) const {
        int64_t pixels = box.count(0);
        for (int a = 0; a < kAxes; ++a) pixels *= line(a, box.begin[1 + a], box.end[1 + a], taps).count;
        return pixels;
    }

    // The sum of all runs: groups of about kBlock pixels, then these.
    static void sum_runs(int vectors, const A* x, const A* gy, const Run* run, int64_t runs, int64_t step, A* to) {
        bool add = false;
        for (int64_t i = 0; i < runs;) {
            int64_t end = i, pixels = 0;
            while (end < runs && (end == i || pixels + run[end].n <= kBlock)) pixels += run[end++].n;
            multiply_runs(vectors, x, gy, run + i, end - i, step, to, add);
            add = true;
            i = end;
        }
    }

    void pack_gy(const Box& box, int64_t group, const int64_t (&panels)[2], A* to) const {
        for (int64_t panel = panels[0]; panel < panels[1]; ++panel, to += box.pixels() * kWidth<A>) {
            const int64_t first = panel * kWidth<A>, columns = smaller<int64_t>(kWidth<A>, call_.filters - first);
            const int width = panel_of<A>(columns).width();
            A* at = to;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                    for (int64_t h = box.begin[2]; h < box.end[2]; ++h, at += box.count(3) * width) {
                        fetch<T>(call_.gy.at<const T>(n, d, h, box.begin[3], group * call_.filters + first),
                                 call_.gy.step[2], call_.gy.step_c, at, width, box.count(3), columns);
                    }
                }
            }
            for (int64_t p = 0; p < box.pixels() && columns < width; ++p) {
                for (int64_t k = columns; k < width; ++k) to[p * width + k] = 0;
            }
        }
    }

    void pack_x(const Box& box, const Taps& taps, int64_t group, const int64_t (&tiles)[2], const Scratch& s) const {
        Line l[kAxes];
        for (int a = 0; a < kAxes; ++a) l[a] = line(a, box.begin[1 + a], box.end[1 + a], taps);
        const int64_t slots = packed_pixels(box, taps);
        const int64_t first = tiles[0] * kRows, lanes = smaller(lanes_, tiles[1] * kRows) - first;
        int64_t slot = 0;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = 0; i < l[0].count; ++i) {
                for (int64_t j = 0; j < l[1].count; ++j, slot += l[2].count) {
                    const int64_t d = l[0].begin + i * l[0].apart, h = l[1].begin + j * l[1].apart;
                    if (d < 0 || d >= call_.x.size[0] || h < 0 || h >= call_.x.size[1]) continue;  // no run reads it
                    int64_t step = 0;
                    const A* const row =
                        merged_ ? run_of(n, d, h, l[2], group, s.row, step)
                                : row_of(n, d, h, l[2], group * call_.channels + first, lanes, s.row, step);
                    interleave(row + (merged_ ? first : 0), step, lanes, l[2].count, s.x + slot * kRows, slots * kRows);
                }
            }
        }
    }

    // A row of pixels with neighbouring channels, and the step from pixel to pixel. It is read in place if it can be.
    const A* row_of(int64_t n, int64_t d, int64_t h, const Line& l, int64_t c, int64_t channels, A* copy,
                    int64_t& step) const {
        int64_t begin = l.begin < 0 ? parts(-l.begin, l.apart) : 0;
        const int64_t end = smaller(l.count, l.begin < call_.x.size[2] ? parts(call_.x.size[2] - l.begin, l.apart) : 0);
        begin = smaller(begin, larger<int64_t>(end, 0));
        step = channels;
        const int64_t outside = l.count - larger<int64_t>(end - begin, 0);
        if constexpr (sizeof(T) == sizeof(A)) {
            if (call_.x.step_c == 1 && outside == 0) {
                step = call_.x.step[2] * l.apart;
                return call_.x.at<const A>(n, d, h, l.begin, c);
            }
        }
        if (outside > 0) std::memset(copy, 0, l.count * channels * sizeof(A));  // no run reads these
        if (end > begin) {
            fetch<T>(call_.x.at<const T>(n, d, h, l.begin + begin * l.apart, c), call_.x.step[2] * l.apart,
                     call_.x.step_c, copy + begin * channels, channels, end - begin, channels);
        }
        return copy;
    }

    // A row of pixels with zeros around it: what the taps of a row read for one output lies in one run.
    const A* run_of(int64_t n, int64_t d, int64_t h, const Line& l, int64_t group, A* copy, int64_t& step) const {
        const int64_t channels = call_.channels, pixels = (l.count - 1) * l.apart + width_;
        const int64_t begin = smaller(larger<int64_t>(-l.begin, 0), pixels);
        const int64_t end = larger(smaller(pixels, call_.x.size[2] - l.begin), begin);
        std::memset(copy, 0, begin * channels * sizeof(A));
        std::memset(copy + end * channels, 0, (pixels - end) * channels * sizeof(A));
        if (end > begin) {
            fetch<T>(call_.x.at<const T>(n, d, h, l.begin + begin, group * channels), call_.x.step[2], call_.x.step_c,
                     copy + begin * channels, channels, end - begin, channels);
        }
        step = l.apart * channels;
        return copy;
    }

    // to[tile][pixel][lane] = from[pixel * step + tile * kRows + lane]; lanes that do not exist become zero.
    static void interleave(const A* from, int64_t step, int64_t lanes, int64_t pixels, A* to, int64_t tile_step) {
        for (int64_t first = 0; first < lanes; first += kRows, to += tile_step) {
            const int64_t count = smaller<int64_t>(kRows, lanes - first);
            if (count == kRows) {
                for (int64_t p = 0; p < pixels; ++p)
                    std::memcpy(to + p * kRows, from + p * step + first, kRows * sizeof(A));
            } else {
                for (int64_t p = 0; p < pixels; ++p) {
                    for (int r = 0; r < kRows; ++r) to[p * kRows + r] = r < count ? from[p * step + first + r] : A(0);
                }
            }
        }
    }

    // The runs of pixels whose tap lies inside the image, none longer than kBlock.
    int64_t find_runs(const Box& box, const Taps& packed, const Taps& tap, Run* runs) const {
        Line l[kAxes];
        for (int a = 0; a < kAxes; ++a) l[a] = line(a, box.begin[1 + a], box.end[1 + a], packed);
        const GatherAxis* const axis = gather_.axis;
        const int64_t offset[kAxes] = {axis[0].taps[tap.begin[0]].offset, axis[1].taps[tap.begin[1]].offset,
                                       axis[2].taps[tap.begin[2]].offset};
        int64_t begin = box.begin[3], end = box.end[3];
        if (!merged_) {
            begin = larger(begin, offset[2] < 0 ? parts(-offset[2], axis[2].step) : int64_t(0));
            end = smaller(end,
                          offset[2] < call_.x.size[2] ? parts(call_.x.size[2] - offset[2], axis[2].step) : int64_t(0));
        }
        int64_t count = 0;
        for (int64_t n = 0; n < box.count(0); ++n) {
            for (int64_t i = 0; i < box.count(1); ++i) {
                for (int64_t j = 0; j < box.count(2); ++j) {
                    const int64_t d = (box.begin[1] + i) * axis[0].step + offset[0];
                    const int64_t h = (box.begin[2] + j) * axis[1].step + offset[1];
                    if (d < 0 || d >= call_.x.size[0] || h < 0 || h >= call_.x.size[1]) continue;
                    const int64_t line_of =
                        (n * l[0].count + (d - l[0].begin) / l[0].apart) * l[1].count + (h - l[1].begin) / l[1].apart;
                    for (int64_t q = begin; q < end; q += kBlock) {
                        const int64_t at =
                            merged_ ? q - box.begin[3] : (q * axis[2].step + offset[2] - l[2].begin) / l[2].apart;
                        runs[count++] = {line_of * l[2].count + at,
                                         ((n * box.count(1) + i) * box.count(2) + j) * box.count(3) + q - box.begin[3],
                                         smaller<int64_t>(kBlock, end - q)};
                    }
                }
            }
        }
        return count;
    }

    // Stores lanes [lane, lane + lanes) of a row of taps into gw. `from` has a row of filters for each lane.
    void put(const A* from, int64_t step, int64_t group, int64_t row, int64_t lane, int64_t lanes, int64_t first,
             int64_t filters) const {
        const int64_t S = merged_ ? 1 : gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        for (int64_t l = 0; l < lanes;) {
            const int64_t tap = merged_ ? (lane + l) / call_.channels : row % S, c = (lane + l) % call_.channels;
            const int64_t count = smaller(call_.channels - c, lanes - l);
            T* const to = reinterpret_cast<T*>(call_.gw.data) + group * call_.step_group +
                          gather_.axis[2].taps[tap].filter * call_.gw.step[2] +
                          gather_.axis[1].taps[row / S % R].filter * call_.gw.step[1] +
                          gather_.axis[0].taps[row / S / R].filter * call_.gw.step[0] + c * call_.gw.step_c +
                          first * call_.gw.step_k;
            deliver<T>(from + l * step, step, to, call_.gw.step_c, call_.gw.step_k, count, filters);
            l += count;
        }
    }

    // Adds up the segments of one tap, in order, and stores the sums.
    void add_segments(int64_t i) const {
        const int64_t tap = i % width_, row = i / width_ % rows_, group = i / width_ / rows_;
        A* const sum = partials_ + ((group * rows_ + row) * lanes_ + tap * call_.channels) * padded_;
        for (int64_t s = 1; s < segments_; ++s) {
            const A* const more = sum + s * all();
            for (int64_t e = 0; e < call_.channels * padded_; ++e) sum[e] += more[e];
        }
        put(sum, padded_, group, row, tap * call_.channels, call_.channels, 0, call_.filters);
    }

    const WgradCall& call_;
    const Gather& gather_;
    bool merged_, tap_by_tap_ = false;
    int64_t width_, rows_, lanes_;     // taps of a row of taps; rows of taps; lanes that x has for each of these
    int64_t tiles_, panels_, padded_;  // of lanes, of filters; filters in whole vectors
    int64_t sizes_[kAxes];
    Boxes boxes_;
    int64_t each_rows_, each_tiles_, each_panels_;  // of a block
    int64_t row_blocks_, tile_blocks_, panel_blocks_, segments_;
    A* partials_ = nullptr;
};

template <class T>
bool all_finite(const WgradCall& call) {
    const int64_t filters = call.groups * call.filters;
    for (int64_t t = 0; t < call.gather->taps(); ++t) {
        const int64_t S = call.gather->axis[2].taps.size(), R = call.gather->axis[1].taps.size();
        const T* const at = reinterpret_cast<const T*>(call.gw.data) + t % S * call.gw.step[2] +
                            t / S % R * call.gw.step[1] + t / S / R * call.gw.step[0];
        for (int64_t c = 0; c < call.channels; ++c) {
            for (int64_t k = 0; k < filters; ++k) {
                const auto value = widened(
                    at[c * call.gw.step_c + k % call.filters * call.gw.step_k + k / call.filters * call.step_group]);
                if (!(value - value == 0)) return false;
            }
        }
    }
    return true;
}

}  // namespace

template <class T>
void conv_wgrad(const WgradCall& call) {
    if (depthwise_wgrad<T>(call)) return;
    const auto& taps = call.gather->axis[2].taps;
    bool merged = call.channels < kFewChannels && taps.size() > 1 && taps.size() <= kLongestRun;
    for (size_t i = 1; i < taps.size(); ++i) merged &= taps[i].offset == taps[i - 1].offset + 1;
    if (merged) {
        WeightGradient<T> gradient(call, true);
        if (gradient.suits()) {
            gradient.run();
            if (!call.gather->padded || all_finite<T>(call)) return;
        }
    }
    WeightGradient<T>(call, false).run();
}

CONVGPU_FOR_EACH_DTYPE(conv_wgrad, WgradCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
