// Convolution as an indirect matrix product: conv_fprop, and conv_dgrad phase by phase.
//
//   y[pixel][k] = activation(bias[k] + sum over taps, c of x[pixel at tap][c] * w[tap][c][k])
//
// A thread owns the results of a tile: a box of some 200 pixels, and some panels of channels of some groups.
// Layouts: any. Pixels are read where they are if their channels are neighbours of the computing type; otherwise, and
// where channels are few, from a copy (source.h). Filters are packed into panels (packing.h).
// Assumes that filters are finite where a tap may lie in the padding, which reads zeros; if they are not, each tap is
// multiplied with the pixels that it has, and with no others.
// Order: taps in ascending order of what they read, channel by channel within a tap, in blocks of kBlock terms
// (product.h). It does not depend on the tiles.
#include "activate.h"
#include "packing.h"
#include "places.h"
#include "source.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = 240;          // of a tile, where there are enough
constexpr int64_t kFewestPixels = 48;     // of a tile, where more tiles keep more threads busy
constexpr int64_t kTiles = 16;            // so many tiles are enough for any number of threads
constexpr int64_t kFewChannels = 16;      // with fewer channels, a row of taps is read as one run
constexpr int64_t kCopy = 512 << 10;      // bytes of pixels that a thread copies at a time
constexpr int64_t kPointers = 256 << 10;  // bytes of pointers to pixels that a thread holds
constexpr int64_t kFewBoxes = 2;          // so few boxes pack what they need of the filters themselves
constexpr double kSmall = 1 << 17;        // with fewer products than this, a second thread costs more than it gains

enum class Reads { kInPlace, kRegion, kColumns };

template <class T>
class Convolution {
    using A = Accumulator<T>;

public:
    Convolution(const ConvCall& call, const Gather& gather)
        : call_(call),
          gather_(gather),
          sizes_{gather.axis[0].count, gather.axis[1].count, gather.axis[2].count},
          width_(panel_width<A>(call.makes)),
          panels_(parts(call.makes, width_)),
          boxes_(call.x.batch, sizes_, box_size()),
          filters_(call, gather) {
        filters_.keep(boxes_.count() > kFewBoxes);
        choose_source();
    }

    void run() {
        if (boxes_.count() == 0 || call_.makes == 0) return;
        if (gather_.taps() * call_.reads == 0) return fill();
        const double products = static_cast<double>(call_.x.batch) * gather_.pixels() * gather_.taps() * call_.reads *
                                call_.makes * call_.groups;
        const int threads = products < kSmall ? 1 : call_.threads;
        const Memory packed(filters_.kept() ? filters_.bytes() : 0);
        // Pointers to zeros are shifted from group to group, as all pointers are.
        const int64_t nothing = reads_ == Reads::kInPlace && gather_.padded ? call_.groups * call_.reads : 0;
        const Memory zeros(nothing * sizeof(A));
        std::memset(zeros.data(), 0, nothing * sizeof(A));
        zeros_ = reinterpret_cast<const A*>(zeros.data());
        if (filters_.kept()) filters_.pack(reinterpret_cast<A*>(packed.data()), threads);
        tapwise_ = gather_.padded && !(filters_.kept() ? filters_.kept_and_finite() : filters_.finite());
        lots_ = smaller(call_.groups, parts(kTiles, boxes_.count()));
        cuts_ = smaller(panels_, parts(kTiles, boxes_.count() * lots_));
        parallel_for(boxes_.count() * lots_ * cuts_, threads, scratch_bytes(), [&](int64_t i, char* scratch) {
            tile(boxes_[i / cuts_ / lots_], i / cuts_ % lots_, i % cuts_, scratch);
        });
    }

private:
    int64_t box_size() const {
        const int64_t pixels = call_.x.batch * gather_.pixels();
        int64_t size = kPixels;
        while (size / 2 >= kFewestPixels && parts(pixels, size) * panels_ * call_.groups < kTiles) size /= 2;
        return size;
    }

    void choose_source() {
        const GatherAxis& w = gather_.axis[2];
        bool run = call_.reads < kFewChannels && w.taps.size() > 1 && filters_.kept();
        for (size_t i = 1; i < w.taps.size(); ++i) run &= w.taps[i].offset == w.taps[i - 1].offset + 1;
        const bool neighbours =
            sizeof(T) == sizeof(A) && (call_.x.step_c == 1 || (call_.reads == 1 && call_.groups == 1));
        reads_ = neighbours && !run ? Reads::kInPlace : Reads::kRegion;
        if (reads_ == Reads::kRegion) {
            const int64_t each = larger<int64_t>(call_.reads, 1) * sizeof(A);
            for (int64_t most = boxes_.pixels(); region_pixels(gather_, boxes_) * each > kCopy && most > 1;) {
                boxes_ = Boxes(call_.x.batch, sizes_, most /= 2);
            }
            const int64_t region = region_pixels(gather_, boxes_), columns = boxes_.pixels() * gather_.taps();
            if (region * each > kCopy || region > 2 * columns) {
                reads_ = Reads::kColumns;
                boxes_ = Boxes(call_.x.batch, sizes_, box_size());
                for (int64_t most = boxes_.pixels(); boxes_.pixels() * each > kCopy && most > 1;) {
                    boxes_ = Boxes(call_.x.batch, sizes_, most /= 2);
                }
            }
        }
        merged_ = run && reads_ == Reads::kRegion;
        rows_ = parts(boxes_.pixels(), kRows) * kRows;
        // Taps are taken in groups, each of whole blocks of terms, so that pointers and columns fit.
        const int64_t width = merged_ ? w.taps.size() : 1, step = Blocks(call_.reads * width).taps * width;
        int64_t most = kPointers / (rows_ * static_cast<int64_t>(sizeof(A*))) * width;
        if (reads_ == Reads::kColumns) {
            most = smaller(most, kCopy / (rows_ * larger<int64_t>(call_.reads, 1) * static_cast<int64_t>(sizeof(A))));
        }
        group_ = smaller(larger(most / step, int64_t(1)) * step, larger<int64_t>(gather_.taps(), 1));
        pitch_ = group_ / width;
        shifted_ = reads_ == Reads::kRegion || (reads_ == Reads::kInPlace && !gather_.padded);
        sparse_ = gather_.padded && !merged_;
        linear_ = shifted_ && !sparse_;
        source_elements_ = reads_ == Reads::kInPlace  ? 0
                           : reads_ == Reads::kRegion ? region_pixels(gather_, boxes_) * call_.reads
                                                      : rows_ * group_ * call_.reads;
        in_place_ = sizeof(T) == sizeof(A) && (call_.y.step_c == 1 || call_.makes == 1);
    }

    // A thread's scratch memory, cut into pieces.
    struct Scratch {
        Place* places;     // of the pixels of the box
        uint8_t* there;    // for each group of rows and tap, whether the tap lies inside the image for any of the rows
        const A** pixels;  // for each group of rows, tap (or for all), and row of the group, where the channels are
        int64_t* shifts;   // of each tap, from these pointers
        A** results;       // for each row, where its results go
        const A** some;    // the same for the rows that a tap has
        A** some_results;
        A *source, *result, *panel, *bias;
    };
    template <class E>
    static E* cut(char*& at, int64_t count) {
        E* const piece = reinterpret_cast<E*>(at);
        at += parts(count * sizeof(E), 64) * 64;
        return piece;
    }
    Scratch scratch_of(char* at) const {
        Scratch s;
        s.places = cut<Place>(at, rows_);
        s.there = cut<uint8_t>(at, rows_ / kRows * pitch_);
        s.pixels = cut<const A*>(at, rows_ * (shifted_ ? 1 : pitch_));
        s.shifts = cut<int64_t>(at, pitch_);
        s.results = cut<A*>(at, rows_);
        s.some = cut<const A*>(at, rows_);
        s.some_results = cut<A*>(at, rows_);
        s.source = cut<A>(at, source_elements_);
        s.result = cut<A>(at, in_place_ ? 0 : rows_ * kWidth<A>);
        s.panel = cut<A>(at, filters_.kept() ? 0 : kBlock * kWidth<A>);
        s.bias = cut<A>(at, kWidth<A>);
        return s;
    }
    size_t scratch_bytes() const {
        const int64_t pointers = (rows_ * (shifted_ ? 1 : pitch_) + pitch_ + 3 * rows_) * sizeof(A*) +
                                 rows_ * sizeof(Place) + rows_ / kRows * pitch_;
        const int64_t elements =
            source_elements_ + (in_place_ ? 0 : rows_ * kWidth<A>)+(filters_.kept() ? 0 : kBlock * kWidth<A>)+kWidth<A>;
        return pointers + elements * sizeof(A) + 12 * 64;
    }

    // Computes a part of the panels of each group of a lot. The groups share their pixels' pointers.
    void tile(const Box& box, int64_t lot, int64_t part, char* memory) const {
        const Scratch scratch = scratch_of(memory);
        const int64_t taps = gather_.taps(), begin = call_.groups * lot / lots_, end = call_.groups * (lot + 1) / lots_;
        const bool once = taps <= group_;  // the pointers of all taps fit, and serve all panels
        if (!linear_) place(box, scratch.places);
        for (int64_t group = begin; group < end; ++group) {
            const Source<A> source = source_of(box, once ? begin : group, group, scratch);
            if (once && (group == begin || reads_ == Reads::kColumns)) {
                point(source, box, group, 0, taps, scratch);
            } else if (once && reads_ == Reads::kInPlace) {
                for (int64_t t = 0; t < pitch_; ++t)
                    scratch.shifts[t] += call_.reads;  // zeros are as wide as all groups
            }
            for (int64_t panel = panels_ * part / cuts_; panel < panels_ * (part + 1) / cuts_; ++panel) {
                multiply_panels(source, box, group, panel, once, scratch);
            }
        }
    }

    // Where the pixels of a group are; in the image, counted from the first channel of group `base`.
    Source<A> source_of(const Box& box, int64_t base, int64_t group, const Scratch& scratch) const {
        if (reads_ == Reads::kInPlace) {
            return {call_.x.at<const A>(0, 0, 0, 0, base * call_.reads),
                    call_.x.step_n,
                    {call_.x.step[0], call_.x.step[1], call_.x.step[2]}};
        }
        if (reads_ == Reads::kRegion) {
            return copy_region<T>(call_.x, gather_, box, group * call_.reads, call_.reads, scratch.source);
        }
        return {scratch.source, 0, {}};
    }

    // Computes the results of one panel of a group.
    void multiply_panels(const Source<A>& source, const Box& box, int64_t group, int64_t panel, bool once,
                         const Scratch& scratch) const {
        const int64_t taps = gather_.taps(), first = panel * width_;
        const Panel<A> columns = panel_of<A>(call_.makes - first, width_);
        aim(box, group, first, scratch.places, scratch.results, scratch.result);
        const A* const bias = bias_of(group, first, columns, scratch.bias);
        if (tapwise_) begin_with_bias(box, columns, bias, scratch);
        for (int64_t tap = 0; tap < taps; tap += group_) {
            const int64_t some = smaller(group_, taps - tap);
            if (!once) point(source, box, group, tap, some, scratch);
            if (tapwise_) {
                multiply_what_exists(box, group, panel, columns, tap, some, scratch);
            } else {
                multiply_taps(box, group, panel, columns, tap, some, bias, scratch);
            }
        }
        finish(box, group, first, columns, scratch);
    }

    // The row of each pixel: pixels that lack the same taps follow each other, so that groups of rows can omit these.
    void place(const Box& box, Place* places) const {
        Ranges ranges[kAxes];
        for (int a = 0; a < kAxes; ++a) {
            ranges[a] = sparse_ ? Ranges(box, a, gather_.axis[a], call_.x.size[a]) : Ranges(box, a);
        }
        const int64_t step[] = {box.count(1) * box.count(2) * box.count(3), box.count(2) * box.count(3), box.count(3)};
        Place next{0, 0};
        for_each_pixel_by_class(box, ranges, [&](int64_t n, int64_t i, int64_t j, int64_t k) {
            places[n * step[0] + i * step[1] + j * step[2] + k] = next;
            ++next.pointer;
            if (++next.row % kRows == 0) next.pointer += shifted_ ? 0 : (pitch_ - 1) * kRows;
        });
    }

    // Sets the pointers of some taps, and which of these lie inside the image.
    void point(const Source<A>& source, const Box& box, int64_t group, int64_t tap, int64_t taps,
               const Scratch& scratch) const {
        const int64_t S = merged_ ? 1 : gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        const int64_t width = merged_ ? gather_.axis[2].taps.size() : 1;
        const int64_t begin = tap / width, count = taps / width;  // rows of taps, if they are merged
        const GatherAxis* const axis = gather_.axis;
        if (sparse_) std::memset(scratch.there, 0, parts(box.pixels(), kRows) * pitch_);
        for (int64_t t = 0; t < count; ++t) {
            const int64_t s = (begin + t) % S, r = (begin + t) / S % R, d = (begin + t) / S / R;
            const int64_t offset[kAxes] = {axis[0].taps[d].offset, axis[1].taps[r].offset, axis[2].taps[s].offset};
            if (sparse_) find(box, offset, scratch.there + t, scratch.places);
            scratch.shifts[t] = 0;
            if (shifted_) {
                for (int a = 0; a < kAxes; ++a) scratch.shifts[t] += offset[a] * source.step[a];
                if (t == 0 && tap == 0) point_at(source, box, group, {}, nullptr, 0, scratch.places, scratch.pixels);
            } else {
                point_at(source, box, group, offset, scratch.source + t * call_.reads, count * call_.reads,
                         scratch.places, scratch.pixels + t * kRows);
            }
        }
    }

    // Notes for each group of rows whether a tap lies inside the image for any of its pixels.
    void find(const Box& box, const int64_t (&offset)[kAxes], uint8_t* there, const Place* place) const {
        const GatherAxis* const axis = gather_.axis;
        Span inside[kAxes];
        for (int a = 0; a < kAxes; ++a) {
            inside[a] =
                inside_of(box.begin[1 + a] * axis[a].step + offset[a], axis[a].step, call_.x.size[a], box.count(1 + a));
        }
        for (int64_t n = 0; n < box.count(0); ++n) {
            for (int64_t i = inside[0].begin; i < inside[0].end; ++i) {
                for (int64_t j = inside[1].begin; j < inside[1].end; ++j) {
                    const Place* const row = place + ((n * box.count(1) + i) * box.count(2) + j) * box.count(3);
                    for (int64_t k = inside[2].begin; k < inside[2].end; ++k) there[row[k].row / kRows * pitch_] = 1;
                }
            }
        }
    }

    // Sets the pointers of one tap, or those of all taps. Columns are copied to `column`, `next` elements apart.
    void point_at(const Source<A>& source, const Box& box, int64_t group, const int64_t (&offset)[kAxes], A* column,
                  int64_t next, const Place* place, const A** to) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t count = box.count(3), x0 = box.begin[3] * axis[2].step + offset[2];
        const Span inside = shifted_ ? Span{0, count} : inside_of(x0, axis[2].step, call_.x.size[2], count);
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j, place += count) {
                    const int64_t z = i * axis[0].step + offset[0], y = j * axis[1].step + offset[1];
                    const bool exists = z >= 0 && z < call_.x.size[0] && y >= 0 && y < call_.x.size[1];
                    if (reads_ == Reads::kColumns) {
                        copy_columns(n, z, y, x0, exists, count, group, column, next);
                        for (int64_t k = 0; k < count; ++k, column += next) to[place[k].pointer] = column;
                        continue;
                    }
                    const Span row = exists || shifted_ ? inside : Span{0, 0};
                    const int64_t step = axis[2].step * source.step[2];
                    const A* const from =
                        source.data + n * source.step_n + z * source.step[0] + y * source.step[1] + x0 * source.step[2];
                    if (linear_) {
                        for (int64_t k = 0; k < count; ++k) to[k] = from + k * step;
                        to += count;
                        continue;
                    }
                    for (int64_t k = 0; k < row.begin; ++k) to[place[k].pointer] = zeros_;
                    for (int64_t k = row.begin; k < row.end; ++k) to[place[k].pointer] = from + k * step;
                    for (int64_t k = row.end; k < count; ++k) to[place[k].pointer] = zeros_;
                }
            }
        }
        const int64_t pixels = box.pixels(), groups = parts(pixels, kRows);
        if (linear_) to -= pixels;
        const A** const last = to + (groups - 1) * (shifted_ ? 1 : pitch_) * kRows;
        for (int64_t r = pixels - (groups - 1) * kRows; r < kRows; ++r) last[r] = last[r - 1];
    }

    // Copies what one tap reads for a row of pixels; what lies outside is zero.
    void copy_columns(int64_t n, int64_t z, int64_t y, int64_t x, bool inside, int64_t count, int64_t group, A* to,
                      int64_t row) const {
        const int64_t step = gather_.axis[2].step;
        const Span exist = inside ? inside_of(x, step, call_.x.size[2], count) : Span{0, 0};
        const int64_t begin = exist.begin, end = exist.end;
        for (int64_t i = 0; i < begin; ++i) std::memset(to + i * row, 0, call_.reads * sizeof(A));
        for (int64_t i = end; i < count; ++i) std::memset(to + i * row, 0, call_.reads * sizeof(A));
        if (begin == end) return;
        fetch<T>(call_.x.at<const T>(n, z, y, x + begin * step, group * call_.reads), call_.x.step[2] * step,
                 call_.x.step_c, to + begin * row, row, end - begin, call_.reads);
    }

    // Sets where the results of each pixel go, for a panel that begins at channel `first` of the group.
    void aim(const Box& box, int64_t group, int64_t first, const Place* place, A** results, A* result) const {
        for_each_row(box, [&](int64_t n, int64_t d, int64_t h, int64_t w, int64_t count) {
            A* to = in_place_ ? call_.y.at<A>(n, d, h, w, group * call_.makes + first) : result;
            const int64_t step = in_place_ ? gather_.axis[2].apart * call_.y.step[2] : kWidth<A>;
            if (linear_) {
                for (int64_t i = 0; i < count; ++i, to += step) *results++ = to;
            } else {
                for (int64_t i = 0; i < count; ++i, ++place, to += step) results[place->row] = to;
            }
            result += count * kWidth<A>;
        });
    }

    // Calls use(n, d, h, w, count) for each row of pixels of a box: where it begins in y, and how many pixels it has.
    template <class Use>
    void for_each_row(const Box& box, Use use) const {
        const GatherAxis* const axis = gather_.axis;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j) {
                    use(n, axis[0].first + i * axis[0].apart, axis[1].first + j * axis[1].apart,
                        axis[2].first + box.begin[3] * axis[2].apart, box.count(3));
                }
            }
        }
    }

    const A* bias_of(int64_t group, int64_t first, const Panel<A>& columns, A* to) const {
        if (!call_.bias) return nullptr;
        const T* const bias = static_cast<const T*>(call_.bias) + group * call_.makes + first;
        const int count = (columns.vectors - 1) * kLanes<A> + columns.last;
        for (int i = 0; i < columns.width(); ++i) to[i] = i < count ? widened(bias[i]) : A(0);
        return to;
    }

    void multiply_taps(const Box& box, int64_t group, int64_t panel, const Panel<A>& columns, int64_t tap, int64_t taps,
                       const A* bias, const Scratch& scratch) const {
        const int64_t width = merged_ ? gather_.axis[2].taps.size() : 1, inner = call_.reads * width;
        const Blocks blocks(inner);
        const int64_t pixels = box.pixels(), count = taps / width, all = gather_.taps();
        for (int64_t t = 0; t < count; t += blocks.taps) {
            const int64_t some = smaller(blocks.taps, count - t);
            for (int64_t c = 0; c < inner; c += blocks.terms) {
                const int64_t end = smaller(inner, c + blocks.terms);
                const bool starts = tap + t == 0 && c == 0;
                const bool ends = tap + (t + some) * width == all && end == inner;
                // Rows of taps that are merged lie behind each other in a panel, as channels of one tap do.
                const A* const b = merged_ ? filters_.block(group, panel, tap + t * width, some * width, 0, call_.reads,
                                                            scratch.panel) +
                                                 c * columns.width()
                                           : filters_.block(group, panel, tap + t, some, c, end, scratch.panel);
                const Finish<A> finish{!starts, ends ? bias : nullptr, ends && call_.activation == Activation::kRelu};
                if (linear_ && all == 1 && panel == 0) {  // pixels that are read for the first time
                    multiply_block<true>(pixels, t, some, c, end, b, columns, scratch, finish, starts || ends);
                } else {
                    multiply_block<false>(pixels, t, some, c, end, b, columns, scratch, finish, starts || ends);
                }
            }
        }
    }

    // Adds a block of terms, those of `some` taps from t, to the results of all pixels.
    template <bool kFetches>
    CONVGPU_INLINE void multiply_block(int64_t pixels, int64_t t, int64_t some, int64_t c, int64_t end, const A* b,
                                       const Panel<A>& columns, const Scratch& scratch, const Finish<A>& finish,
                                       bool needed) const {
        for (int64_t p = 0; p < pixels; p += kRows) {
            const uint8_t* const there = scratch.there + p / kRows * pitch_ + t;
            int64_t first = 0, last = some;
            while (sparse_ && first < last && !there[first]) ++first;
            while (sparse_ && first < last && !there[last - 1]) --last;
            if (first == last && !needed) continue;
            Rows<A> rows = rows_of(p, t + first, scratch);
            if (kFetches) rows.ahead = rows.at + (p + kRows < pixels ? kRows : 0);
            multiply<kFetches>(columns, rows, last - first, c, end, b + first * (end - c) * columns.width(),
                               columns.width(), scratch.results + p, 0,
                               static_cast<int>(smaller<int64_t>(kRows, pixels - p)), finish);
        }
    }

    // The rows of a group from the p-th one, and from tap t.
    Rows<A> rows_of(int64_t p, int64_t t, const Scratch& scratch) const {
        return {scratch.pixels + (shifted_ ? p : p * pitch_ + t * kRows), shifted_ ? 0 : kRows, scratch.shifts + t};
    }

    // The same for filters that are not finite: a tap's products with the pixels that it has are added to the results.
    void multiply_what_exists(const Box& box, int64_t group, int64_t panel, const Panel<A>& columns, int64_t tap,
                              int64_t taps, const Scratch& scratch) const {
        const int64_t width = merged_ ? gather_.axis[2].taps.size() : 1;
        const Blocks blocks(call_.reads);
        for (int64_t t = 0; t < taps; ++t) {
            const int64_t pixels = choose(box, tap + t, t / width, t % width * call_.reads, scratch);
            for (int64_t c = 0; c < call_.reads; c += blocks.terms) {
                const int64_t end = smaller(call_.reads, c + blocks.terms);
                const A* const b = filters_.block(group, panel, tap + t, 1, c, end, scratch.panel);
                for (int64_t p = 0; p < pixels; p += kRows) {
                    multiply(columns, Rows<A>{scratch.some + p, 0, kUnshifted}, 1, c, end, b, columns.width(),
                             scratch.some_results + p, 0, static_cast<int>(smaller<int64_t>(kRows, pixels - p)),
                             Finish<A>{true, nullptr, false});
                }
            }
        }
    }

    // Collects the pixels of a box for which a tap lies inside, and returns how many these are.
    int64_t choose(const Box& box, int64_t tap, int64_t t, int64_t shift, const Scratch& scratch) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t S = axis[2].taps.size(), R = axis[1].taps.size();
        const int64_t offset[kAxes] = {axis[0].taps[tap / S / R].offset, axis[1].taps[tap / S % R].offset,
                                       axis[2].taps[tap % S].offset};
        int64_t p = 0, chosen = 0;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j) {
                    for (int64_t k = box.begin[3]; k < box.end[3]; ++k, ++p) {
                        const int64_t at[kAxes] = {i * axis[0].step + offset[0], j * axis[1].step + offset[1],
                                                   k * axis[2].step + offset[2]};
                        bool inside = true;
                        for (int a = 0; a < kAxes; ++a) inside &= at[a] >= 0 && at[a] < call_.x.size[a];
                        if (!inside) continue;
                        const int32_t row = static_cast<int32_t>(p);
                        const Place place = linear_ ? Place{row, row} : scratch.places[p];
                        scratch.some[chosen] =
                            scratch.pixels[place.pointer + (shifted_ ? 0 : t * kRows)] + scratch.shifts[t] + shift;
                        scratch.some_results[chosen++] = scratch.results[place.row];
                    }
                }
            }
        }
        for (int64_t i = chosen; i % kRows && chosen; ++i) scratch.some[i] = scratch.some[i - 1];
        return chosen;
    }

    void begin_with_bias(const Box& box, const Panel<A>& columns, const A* bias, const Scratch& scratch) const {
        const int count = (columns.vectors - 1) * kLanes<A> + columns.last;
        for (int64_t p = 0; p < box.pixels(); ++p) {
            for (int k = 0; k < count; ++k) scratch.results[p][k] = bias ? bias[k] : A(0);
        }
    }

    // Results that no pixel of x reaches are the activated bias.
    void fill() const {
        const Memory memory(call_.groups * call_.makes * sizeof(A));
        A* const row = reinterpret_cast<A*>(memory.data());
        const int64_t channels = call_.groups * call_.makes;
        for (int64_t k = 0; k < channels; ++k)
            row[k] = call_.bias ? widened(static_cast<const T*>(call_.bias)[k]) : A(0);
        activate(call_.activation, row, channels);
        parallel_for(boxes_.count(), call_.threads, 0, [&](int64_t i, char*) {
            for_each_row(boxes_[i], [&](int64_t n, int64_t d, int64_t h, int64_t w, int64_t count) {
                T* const to = call_.y.at<T>(n, d, h, w, 0);
                const int64_t step = gather_.axis[2].apart * call_.y.step[2];
                for (int64_t p = 0; p < count; ++p)
                    deliver<T>(row, 0, to + p * step, step, call_.y.step_c, 1, channels);
            });
        });
    }

    void finish(const Box& box, int64_t group, int64_t first, const Panel<A>& columns, const Scratch& scratch) const {
        const int count = (columns.vectors - 1) * kLanes<A> + columns.last;
        const bool rectified = call_.activation == Activation::kRelu && !tapwise_;
        if (call_.activation != Activation::kNone && !rectified) activate_results(box, group, first, count, scratch);
        if (in_place_) return;
        const A* from = scratch.result;
        for_each_row(box, [&](int64_t n, int64_t d, int64_t h, int64_t w, int64_t pixels) {
            deliver<T>(from, kWidth<A>, call_.y.at<T>(n, d, h, w, group * call_.makes + first),
                       gather_.axis[2].apart * call_.y.step[2], call_.y.step_c, pixels, count);
            from += pixels * kWidth<A>;
        });
    }

    // The activation of all results of a panel: where pixels follow each other without a gap, rows of them are taken at
    // once, since few channels would leave most of a vector empty.
    void activate_results(const Box& box, int64_t group, int64_t first, int count, const Scratch& scratch) const {
        if (!in_place_ || gather_.axis[2].apart * call_.y.step[2] != count) {
            for (int64_t p = 0; p < box.pixels(); ++p) activate(call_.activation, scratch.results[p], count);
            return;
        }
        for_each_row(box, [&](int64_t n, int64_t d, int64_t h, int64_t w, int64_t pixels) {
            activate(call_.activation, call_.y.at<A>(n, d, h, w, group * call_.makes + first), pixels * count);
        });
    }

    const ConvCall& call_;
    const Gather& gather_;
    int64_t sizes_[kAxes];
    int64_t width_, panels_;       // of a panel; panels of a group
    int64_t lots_ = 1, cuts_ = 1;  // the parts that groups and the panels of each are cut into
    Boxes boxes_;
    PackedFilters<T> filters_;
    Reads reads_;
    bool merged_, in_place_, tapwise_ = false;
    bool shifted_;                  // one pointer serves all taps
    bool sparse_;                   // taps in the padding are left out
    bool linear_;                   // rows are pixels in their order
    int64_t rows_, group_, pitch_;  // of a box; taps whose pointers fit, and how many products of rows these make
    int64_t source_elements_;
    const A* zeros_ = nullptr;
};

}  // namespace

template <class T>
void convolve(const ConvCall& call) {
    if (depthwise_planes<T>(call) || scatter<T>(call)) return;
    for (const Gather& gather : *call.gathers) convolve_gather<T>(call, gather);
}

template <class T>
void convolve_gather(const ConvCall& call, const Gather& gather) {
    if (!depthwise<T>(call, gather)) Convolution<T>(call, gather).run();
}
template void convolve_gather<BFloat16>(const ConvCall&, const Gather&);

CONVGPU_FOR_EACH_DTYPE(convolve, ConvCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
