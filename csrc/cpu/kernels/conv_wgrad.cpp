// The filters' gradient: gw[tap][c][k] = sum over pixels of x[pixel at tap][c] * gy[pixel][k].
//
// A thread owns a block of gw (some taps, channels and filters of one group) for one segment of the pixels. It takes
// the pixels of its segment box by box, and multiplies, kRows lanes of x and one panel of gy at a time, the runs of
// pixels whose tap lies inside (runs.h), so that padding is never multiplied. A lane is a channel of x.
// Where channels are few, all taps and channels are lanes of a copy of the region that the box reads; then padding is
// multiplied, and should gw not be finite, it is computed once more without that.
// Layouts: any. A single tap reads x where it is if its channels are neighbours of the computing type; else x is packed
// (wgrad_pixels.h). gy is packed as [panel][pixel][width of the panel], unless few lanes read it where it is.
// Order: pixels in groups of kBlock, these within a box, boxes within a segment, then the segments. Boxes and segments
// follow from the geometry alone.
#include "packing.h"
#include "table.h"
#include "wgrad_pixels.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = 512;                  // of a box, where they fit
constexpr int64_t kCopy = 768 << 10;              // bytes of packed pixels of x, and of gy
constexpr int64_t kResults = 256 << 10;           // elements of gw that a thread owns at a time
constexpr int64_t kColumns = 1024;                // filters that a thread owns at a time
constexpr int64_t kTasks = 16;                    // so many tasks are enough for any number of threads
constexpr int64_t kSegment = 1024;                // a segment has at least so many pixels
constexpr int64_t kPartials = int64_t(16) << 20;  // bytes of the sums of all segments
constexpr int64_t kFewChannels = 16;              // with fewer channels, all taps are lanes
constexpr int64_t kMostLanes = 1024;              // of all taps and channels
constexpr int64_t kFewReaders = 4;                // so few tiles of lanes read gy where it is, even across other panels
constexpr int64_t kAhead = 8, kFarAhead = 64;     // pixels of x that are fetched into the nearest cache in advance
constexpr int64_t kPage = 4096;                   // bytes
constexpr int64_t kManyPanels = 4;                // so many panels of filters make up for a copy of x
constexpr double kSmall = 1 << 17;

enum class Reads { kInPlace, kPacked, kRegion };

template <class T>
class WeightGradient {
    using A = Accumulator<T>;

public:
    WeightGradient(const WgradCall& call, bool all_taps)
        : call_(call),
          gather_(*call.gather),
          pixels_(call.x, gather_),
          reads_(all_taps ? Reads::kRegion : Reads::kPacked),
          rows_(all_taps ? 1 : gather_.taps()),
          lanes_(all_taps ? gather_.taps() * call.channels : call.channels),
          tiles_(parts(lanes_, kRows)),
          width_(panel_width<A>(call.filters)),
          panels_(parts(call.filters, width_)),
          padded_(parts(call.filters, kLanes<A>) * kLanes<A>),
          sizes_{gather_.axis[0].count, gather_.axis[1].count, gather_.axis[2].count},
          boxes_(call.x.batch, sizes_, kPixels) {
        plan();
    }

    // Whether what a box reads fits; if not, taps are to be taken one by one.
    bool suits() const { return fits(); }

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
        parallel_for(call_.groups * gather_.taps(), threads, 0, [&](int64_t i, char*) { add_segments(i); });
    }

private:
    int64_t all() const { return call_.groups * rows_ * lanes_ * padded_; }  // the elements of gw, in whole vectors

    void plan() {
        each_panels_ = smaller(panels_, kColumns / width_);
        const int64_t columns = each_panels_ * width_;
        each_rows_ = smaller(rows_, larger<int64_t>(kResults / (kRows * columns), 1));
        each_tiles_ = smaller(tiles_, larger<int64_t>(kResults / (kRows * columns * each_rows_), 1));
        const bool neighbours = sizeof(T) == sizeof(A) && call_.x.step_c == 1;
        // Pixels a page or more apart share their place in the nearest cache; if several panels read them, a copy pays.
        const int64_t distance = call_.x.step[2] * gather_.axis[2].step * static_cast<int64_t>(sizeof(A));
        const bool crowded = distance >= kPage && panels_ >= kManyPanels;
        if (reads_ == Reads::kPacked && neighbours && gather_.taps() == 1 && !crowded) reads_ = Reads::kInPlace;
        gy_in_place_ = sizeof(T) == sizeof(A) && call_.gy.step_c == 1 && call_.filters % kLanes<A> == 0 &&
                       (call_.gy.step[2] == width_ || tiles_ * rows_ <= kFewReaders);
        shrink();
        // x is read tap by tap if the region that a box of few pixels covers is too large.
        const int64_t most = 4 * boxes_.pixels() * gather_.taps() * each_tiles_ * kRows;
        if (reads_ == Reads::kPacked && (x_elements() > most || !fits())) {
            tap_by_tap_ = true;
            if (neighbours) reads_ = Reads::kInPlace;
            boxes_ = Boxes(call_.x.batch, sizes_, kPixels);
            shrink();
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
    void shrink() {
        for (int64_t most = kPixels; !fits() && most > 1;) boxes_ = Boxes(call_.x.batch, sizes_, most /= 2);
    }
    bool fits() const {
        const int64_t pixels = smaller<int64_t>(boxes_.pixels(), kTooMany);
        return x_elements() <= kCopy / static_cast<int64_t>(sizeof(A)) &&
               pixels * each_panels_ * width_ <= kCopy / static_cast<int64_t>(sizeof(A));
    }
    int64_t x_elements() const {
        if (reads_ == Reads::kInPlace) return 0;
        if (reads_ == Reads::kRegion) return region_pixels(gather_, boxes_) * call_.channels;
        return pixels_.most(boxes_, tap_by_tap_) * each_tiles_ * kRows;
    }
    int64_t gy_elements() const { return gy_in_place_ ? 0 : boxes_.pixels() * each_panels_ * width_; }
    int64_t row_elements() const {
        return reads_ == Reads::kPacked ? pixels_.most_of_axis(boxes_, 2, tap_by_tap_) * each_tiles_ * kRows : 0;
    }
    int64_t sum_elements() const { return each_rows_ * each_tiles_ * kRows * each_panels_ * width_; }

    TapRange taps_of(int64_t row) const {
        const int64_t S = gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        const int64_t d = row / S / R, r = row / S % R, s = row % S;
        return {{d, r, s}, {d + 1, r + 1, s + 1}};
    }
    TapRange packed_taps(int64_t row) const {
        if (tap_by_tap_) return taps_of(row);
        TapRange all{};
        for (int a = 0; a < kAxes; ++a) all.end[a] = gather_.axis[a].taps.size();
        return all;
    }

    struct Scratch {
        A *x, *gy, *sums, *part, *row;
        const A** lanes;
        Run* runs;
    };
    int64_t most_runs() const { return 2 * boxes_.pixels() + 1; }
    template <class E>
    static E* cut(char*& at, int64_t count) {
        E* const piece = reinterpret_cast<E*>(at);
        at += parts(count * sizeof(E), 64) * 64;
        return piece;
    }
    Scratch scratch_of(char* at) const {
        Scratch s;
        s.x = cut<A>(at, x_elements());
        s.gy = cut<A>(at, gy_elements());
        s.sums = cut<A>(at, sum_elements());
        s.part = cut<A>(at, each_tiles_ * kRows * kWidth<A>);
        s.lanes = cut<const A*>(at, each_tiles_ * kRows);
        s.row = cut<A>(at, row_elements());
        s.runs = cut<Run>(at, most_runs());
        return s;
    }
    size_t scratch_bytes() const {
        return (x_elements() + gy_elements() + sum_elements() + each_tiles_ * kRows * kWidth<A> + row_elements()) *
                   sizeof(A) +
               each_tiles_ * kRows * sizeof(A*) + most_runs() * sizeof(Run) + 7 * 64;
    }

    // What a block of gw consists of.
    struct Part {
        int64_t group;
        Span rows, tiles, panels;
    };

    void block(int64_t i, int64_t segment, char* memory) const {
        const int64_t p = i % panel_blocks_, t = i / panel_blocks_ % tile_blocks_;
        const int64_t r = i / panel_blocks_ / tile_blocks_ % row_blocks_;
        const Part part{i / panel_blocks_ / tile_blocks_ / row_blocks_,
                        {r * each_rows_, smaller(rows_, (r + 1) * each_rows_)},
                        {t * each_tiles_, smaller(tiles_, (t + 1) * each_tiles_)},
                        {p * each_panels_, smaller(panels_, (p + 1) * each_panels_)}};
        const Scratch s = scratch_of(memory);
        const int64_t columns = part.panels.count() * width_;
        std::memset(s.sums, 0, part.rows.count() * part.tiles.count() * kRows * columns * sizeof(A));
        for (int64_t b = boxes_.count() * segment / segments_; b < boxes_.count() * (segment + 1) / segments_; ++b) {
            add_box(boxes_[b], part, s);
        }
        for (int64_t row = part.rows.begin; row < part.rows.end; ++row) {
            const A* const from = s.sums + (row - part.rows.begin) * part.tiles.count() * kRows * columns;
            const int64_t lane = part.tiles.begin * kRows, lanes = smaller(lanes_, part.tiles.end * kRows) - lane;
            const int64_t first = part.panels.begin * width_;
            const int64_t filters = smaller(call_.filters, part.panels.end * width_) - first;
            if (segments_ == 1) {
                put(from, columns, part.group, row, lane, lanes, first, filters);
                continue;
            }
            A* const to = partials_ + segment * all() + ((part.group * rows_ + row) * lanes_ + lane) * padded_ + first;
            for (int64_t l = 0; l < lanes; ++l) widen(from + l * columns, to + l * padded_, filters);
        }
    }

    void add_box(const Box& box, const Part& part, const Scratch& s) const {
        if (!gy_in_place_) pack_gy(box, part, s.gy);
        Source<A> x{};  // where x is read by its pixels; packed pixels have an order of their own
        if (reads_ == Reads::kInPlace) {
            x = {call_.x.at<const A>(0, 0, 0, 0, part.group * call_.channels),
                 call_.x.step_n,
                 {call_.x.step[0], call_.x.step[1], call_.x.step[2]}};
        } else if (reads_ == Reads::kRegion) {
            x = copy_region<T>(call_.x, gather_, box, part.group * call_.channels, call_.channels, s.x);
        }
        const int64_t first = part.tiles.begin * kRows, lanes = smaller(lanes_, part.tiles.end * kRows) - first;
        for (int64_t row = part.rows.begin; row < part.rows.end; ++row) {
            const TapRange packed = packed_taps(row);
            if (reads_ == Reads::kPacked && (row == part.rows.begin || tap_by_tap_)) {
                pixels_.pack(box, packed, part.group * call_.channels + first, lanes, s.x, s.row);
            }
            const int64_t runs = find_runs(box, x, packed, row, s.runs);
            if (runs > 0) add_row(box, x, packed, row, runs, part, s);
        }
    }

    // Adds the products of a row of lanes, which is one tap, or all of them, to the sums.
    void add_row(const Box& box, const Source<A>& x, const TapRange& packed, int64_t row, int64_t runs,
                 const Part& part, const Scratch& s) const {
        const GatherAxis& axis = gather_.axis[2];
        const int64_t columns = part.panels.count() * width_, slots = pixels_.count(box, packed);
        const int64_t step = reads_ != Reads::kPacked               ? axis.step * x.step[2]
                             : packed.end[2] - packed.begin[2] == 1 ? kRows
                                                                    : axis.step * kRows;
        const int64_t tiles = part.tiles.count();
        for (int64_t i = 0; i < tiles * kRows; ++i) {
            s.lanes[i] = reads_ == Reads::kPacked ? s.x + i / kRows * slots * kRows + i % kRows
                                                  : lane_of(x, smaller(part.tiles.begin * kRows + i, lanes_ - 1));
        }
        for (int64_t panel = part.panels.begin; panel < part.panels.end; ++panel) {
            const Panel<A> filters = panel_of<A>(call_.filters - panel * width_, width_);
            const int64_t width = filters.width();
            const A* const gy = gy_in_place_
                                    ? call_.gy.at<const A>(0, 0, 0, 0, part.group * call_.filters + panel * width_)
                                    : s.gy + (panel - part.panels.begin) * width_ * box.pixels();
            // The first panel brings x from memory, the others find it in a cache.
            const bool first = panel == part.panels.begin && reads_ == Reads::kInPlace;
            const Apart apart{step, gy_in_place_ ? call_.gy.step[2] : width, gy_in_place_ ? 1 : width,
                              (first ? kFarAhead : kAhead) * step};
            // The pixels of gy of one group serve all tiles while they are in the nearest cache.
            for (int64_t i = 0; i < runs;) {
                const int64_t end = end_of_block(s.runs, i, runs);
                for (int64_t t = 0; t < tiles; ++t) {
                    multiply_runs(filters.vectors, s.lanes + t * kRows, gy, s.runs + i, end - i, apart,
                                  s.part + t * kRows * width, i > 0);
                }
                i = end;
            }
            A* to = s.sums + (row - part.rows.begin) * tiles * kRows * columns + (panel - part.panels.begin) * width_;
            for (int64_t l = 0; l < tiles * kRows; ++l, to += columns) {
                const A* const from = s.part + l * width;
                for (int64_t k = 0; k < width; k += kLanes<A>) store(to + k, load(to + k) + load(from + k));
            }
        }
    }

    // Where a lane's pixel (0, 0, 0, 0) would be, with its tap if all taps are lanes.
    const A* lane_of(const Source<A>& x, int64_t lane) const {
        if (reads_ == Reads::kInPlace) return x.data + lane;
        const int64_t S = gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size(), tap = lane / call_.channels;
        return x.data + gather_.axis[0].taps[tap / S / R].offset * x.step[0] +
               gather_.axis[1].taps[tap / S % R].offset * x.step[1] + gather_.axis[2].taps[tap % S].offset * x.step[2] +
               lane % call_.channels;
    }

    void pack_gy(const Box& box, const Part& part, A* to) const {
        for (int64_t panel = part.panels.begin; panel < part.panels.end; ++panel, to += box.pixels() * width_) {
            const int64_t first = panel * width_, columns = smaller(width_, call_.filters - first);
            const int width = panel_of<A>(columns).width();
            A* at = to;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                    for (int64_t h = box.begin[2]; h < box.end[2]; ++h, at += box.count(3) * width) {
                        pack_filters<T>(call_.gy.at<const T>(n, d, h, box.begin[3], part.group * call_.filters + first),
                                        call_.gy.step[2], call_.gy.step_c, at, width, box.count(3), columns);
                    }
                }
            }
        }
    }

    // The runs of pixels for which the tap of a row of lanes lies inside the image, none longer than kBlock. A region
    // has all pixels.
    int64_t find_runs(const Box& box, const Source<A>& x, const TapRange& packed, int64_t row, Run* runs) const {
        const bool region = reads_ == Reads::kRegion;
        const GatherAxis* const axis = gather_.axis;
        const TapRange tap = taps_of(row);
        int64_t offset[kAxes] = {};
        Span inside[kAxes];
        Line l[kAxes];
        for (int a = 0; a < kAxes; ++a) {
            inside[a] = {box.begin[1 + a], box.end[1 + a]};
            if (region) continue;
            l[a] = pixels_.line(a, box.begin[1 + a], box.end[1 + a], packed);
            offset[a] = axis[a].taps[tap.begin[a]].offset;
            const int64_t lo = offset[a] < 0 ? parts(-offset[a], axis[a].step) : 0;
            const int64_t hi = offset[a] < call_.x.size[a] ? parts(call_.x.size[a] - offset[a], axis[a].step) : 0;
            inside[a] = {larger(inside[a].begin, lo), smaller(inside[a].end, hi)};
        }
        const auto x_at = [&](int64_t n, int64_t i, int64_t j, int64_t k) {
            const int64_t at[kAxes] = {i * axis[0].step + offset[0], j * axis[1].step + offset[1],
                                       k * axis[2].step + offset[2]};
            if (reads_ != Reads::kPacked) {
                return n * x.step_n + at[0] * x.step[0] + at[1] * x.step[1] + at[2] * x.step[2];
            }
            int64_t slot = n - box.begin[0];
            for (int a = 0; a < kAxes; ++a) slot = slot * l[a].count + (at[a] - l[a].begin) / l[a].apart;
            return slot * kRows;
        };
        const auto gy_at = [&](int64_t n, int64_t i, int64_t j, int64_t k) {
            const Images& gy = call_.gy;
            if (gy_in_place_) return n * gy.step_n + i * gy.step[0] + j * gy.step[1] + k * gy.step[2];
            return (((n - box.begin[0]) * box.count(1) + i - box.begin[1]) * box.count(2) + j - box.begin[2]) *
                       box.count(3) +
                   k - box.begin[3];
        };
        int64_t count = 0;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = inside[0].begin; i < inside[0].end; ++i) {
                for (int64_t j = inside[1].begin; j < inside[1].end; ++j) {
                    for (int64_t k = inside[2].begin; k < inside[2].end; k += kBlock) {
                        runs[count++] = {x_at(n, i, j, k), gy_at(n, i, j, k),
                                         smaller<int64_t>(kBlock, inside[2].end - k)};
                    }
                }
            }
        }
        return count;
    }

    // Stores lanes [lane, lane + lanes) of a row into gw. `from` has a row of filters for each lane.
    void put(const A* from, int64_t step, int64_t group, int64_t row, int64_t lane, int64_t lanes, int64_t first,
             int64_t filters) const {
        const int64_t S = gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        for (int64_t l = 0; l < lanes;) {
            const int64_t tap = reads_ == Reads::kRegion ? (lane + l) / call_.channels : row;
            const int64_t c = (lane + l) % call_.channels, count = smaller(call_.channels - c, lanes - l);
            T* const to = reinterpret_cast<T*>(call_.gw.data) + group * call_.step_group +
                          gather_.axis[2].taps[tap % S].filter * call_.gw.step[2] +
                          gather_.axis[1].taps[tap / S % R].filter * call_.gw.step[1] +
                          gather_.axis[0].taps[tap / S / R].filter * call_.gw.step[0] + c * call_.gw.step_c +
                          first * call_.gw.step_k;
            deliver<T>(from + l * step, step, to, call_.gw.step_c, call_.gw.step_k, count, filters);
            l += count;
        }
    }

    // Adds up the segments of one tap, in order, and stores the sums.
    void add_segments(int64_t i) const {
        const int64_t tap = i % gather_.taps(), group = i / gather_.taps();
        A* const sum = partials_ + (group * gather_.taps() + tap) * call_.channels * padded_;
        for (int64_t s = 1; s < segments_; ++s) {
            const A* const more = sum + s * all();
            for (int64_t e = 0; e < call_.channels * padded_; ++e) sum[e] += more[e];
        }
        const bool region = reads_ == Reads::kRegion;
        put(sum, padded_, group, region ? 0 : tap, region ? tap * call_.channels : 0, call_.channels, 0, call_.filters);
    }

    const WgradCall& call_;
    const Gather& gather_;
    PackedPixels<T> pixels_;
    Reads reads_;
    bool tap_by_tap_ = false, gy_in_place_ = false;
    int64_t rows_, lanes_;                     // rows of lanes, of one tap each or of all taps; lanes of a row
    int64_t tiles_, width_, panels_, padded_;  // tiles of lanes; panels of filters; filters in whole vectors
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
    const int64_t taps = call.gather->taps();
    if (call.channels < kFewChannels && taps > 1 && taps * call.channels <= kMostLanes) {
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
