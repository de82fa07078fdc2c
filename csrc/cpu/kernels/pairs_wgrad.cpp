// The filters' gradient of bfloat16 by a unit for pairs of terms (pairs.h), whose terms are pixels here.
//
//   gw[tap][c][k] = sum over pixels of gy[pixel][k] * x[pixel at tap][c]
//
// Rows of the product are filters, columns are taps and channels: so the smaller operand, gy, is the one to transpose.
// A thread owns some columns of one group, and all filters, for one segment of the pixels. It takes the pixels of its
// segment box by box: copies what they read into rows (im2col), pairs rows that are neighbours, and transposes gy.
// Layouts: any.
// Padding is multiplied; should gw not be finite, the kernels for float32 compute it without that.
// Order: pixels of a box, boxes within a segment, then the segments. Boxes and segments follow from the geometry alone.
#include "../threads.h"
#include "pairs_pack.h"
#include "pixels.h"
#include "table.h"

#if defined(CONVGPU_PAIRS)
namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kMostColumns = 512;             // that a thread owns at a time
constexpr int64_t kTasks = 16;                    // so many tasks are enough for any number of threads
constexpr int64_t kSegment = 1024;                // a segment has at least so many pixels
constexpr int64_t kPartials = int64_t(16) << 20;  // bytes of the sums of all segments
constexpr int64_t kMostFilters = 1024;            // of a task
constexpr double kSmall = 1 << 19;

class PairGradient {
public:
    PairGradient(const WgradCall& call, const PairUnit& unit)
        : call_(call),
          unit_(unit),
          gather_(*call.gather),
          sizes_{gather_.axis[0].count, gather_.axis[1].count, gather_.axis[2].count},
          columns_(gather_.taps() * call.channels),
          panels_(parts(columns_, kPairColumns)),
          rows_(parts(call.filters, kPairRows) * kPairRows),
          boxes_(call.x.batch, sizes_, kPairBlock),
          pixels_(call.x, gather_, call.channels) {
        cuts_ = parts(columns_, kMostColumns);
        tall_ = parts(rows_, kMostFilters);
        each_ = parts(panels_, cuts_);
        each_rows_ = parts(rows_ / kPairRows, tall_) * kPairRows;
        tall_ = parts(rows_, each_rows_);
        const int64_t tasks = call.groups * cuts_ * tall_, pixels = call.x.batch * gather_.pixels();
        segments_ = larger<int64_t>(smaller(parts(kTasks, tasks), pixels / kSegment), 1);
        segments_ = larger<int64_t>(smaller(segments_, kPartials / (all() * int64_t(sizeof(float)))), 1);
        segments_ = smaller(segments_, boxes_.count());
        steps_ = whole_steps(boxes_.pixels());
    }

    void run() {
        const double products =
            static_cast<double>(call_.x.batch) * gather_.pixels() * columns_ * call_.filters * call_.groups;
        const int threads = products < kSmall ? 1 : call_.threads;
        const Memory partials(segments_ > 1 ? segments_ * all() * sizeof(float) : 0);
        partials_ = reinterpret_cast<float*>(partials.data());
        parallel_for(call_.groups * cuts_ * tall_ * segments_, threads, scratch_bytes(), [&](int64_t i, char* scratch) {
            unit_.begin();
            task(i / segments_, i % segments_, scratch);
            unit_.end();
        });
        if (segments_ == 1) return;
        parallel_for(call_.groups * panels_, threads, 0,
                     [&](int64_t i, char*) { add_segments(i / panels_, i % panels_); });
    }

private:
    int64_t all() const { return call_.groups * panels_ * panel(); }  // the elements of all sums
    int64_t panel() const { return rows_ * kPairColumns; }

    size_t scratch_bytes() const {
        return (each_rows_ * steps_ + steps_ * each_ * kPairColumns + steps_ * kPairColumns) * sizeof(BFloat16) +
               each_ * each_rows_ * kPairColumns * sizeof(float);
    }

    // Sums are [panel][filter][column of the panel].
    void task(int64_t i, int64_t segment, char* memory) const {
        const int64_t cut = i % cuts_, group = i / cuts_ / tall_, top = i / cuts_ % tall_ * each_rows_;
        const int64_t begin = cut * each_, end = smaller(panels_, begin + each_);
        const int64_t bottom = smaller(rows_, top + each_rows_), rows = smaller(call_.filters, bottom) - top;
        const int64_t width = kPairColumns * each_, height = (bottom - top) * kPairColumns;
        float* const sums = reinterpret_cast<float*>(memory);
        BFloat16* const gy = reinterpret_cast<BFloat16*>(sums + each_ * each_rows_ * kPairColumns);
        BFloat16* const x = gy + each_rows_ * steps_;
        BFloat16* const b = x + steps_ * width;
        const int64_t first = boxes_.count() * segment / segments_, last = boxes_.count() * (segment + 1) / segments_;
        for (int64_t k = first; k < last; ++k) {
            const Box box = boxes_[k];
            const int64_t pixels = box.pixels(), steps = whole_steps(pixels);
            transpose_gy(box, group * call_.filters + top, rows, gy);
            pixels_.copy(box, group * call_.channels * call_.x.step_c, begin * kPairColumns,
                         smaller(columns_, end * kPairColumns), x, width);
            for (int64_t p = begin; p < end; ++p) {
                const int64_t columns = smaller<int64_t>(kPairColumns, columns_ - p * kPairColumns);
                pair_rows(x + (p - begin) * kPairColumns, width, pixels, steps, columns, b);
                float* const sum = sums + (p - begin) * height;
                for (int64_t r = 0; r < rows; r += kPairRows) {
                    unit_.multiply(gy + r * steps_, steps_, b, steps / kPairTerms, sum + r * kPairColumns,
                                   static_cast<int>(smaller<int64_t>(kPairRows, rows - r)), static_cast<int>(columns),
                                   k > first);
                }
            }
        }
        for (int64_t p = begin; p < end; ++p) {
            const float* const from = sums + (p - begin) * height;
            if (segments_ == 1) {
                put(from, group, p, top, rows);
                continue;
            }
            float* const to = partials_ + segment * all() + (group * panels_ + p) * panel() + top * kPairColumns;
            std::memcpy(to, from, rows * kPairColumns * sizeof(float));
        }
    }

    // Rows of the pixels of a filter; what they lack to whole steps is zero.
    void transpose_gy(const Box& box, int64_t first, int64_t filters, BFloat16* to) const {
        const Images& gy = call_.gy;
        // Lines that follow each other without a gap are one line.
        int64_t line = box.count(3), lines = box.count(2);
        if (gy.step[1] == line * gy.step[2]) {
            line *= lines;
            lines = 1;
        }
        BFloat16* at = to;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                for (int64_t j = 0; j < lines; ++j, at += line) {
                    copy_rows(gy.at<const BFloat16>(n, d, box.begin[2] + j, box.begin[3], first), gy.step_c, gy.step[2],
                              at, steps_, filters, line);
                }
            }
        }
        const int64_t pixels = box.pixels();
        for (int64_t k = 0; k < filters; ++k) zero_terms(to + k * steps_ + pixels, whole_steps(pixels) - pixels);
    }

    static void pair_rows(const BFloat16* x, int64_t width, int64_t pixels, int64_t steps, int64_t columns,
                          BFloat16* to) {
        for (int64_t p = 0; p < pixels; p += 2, x += 2 * width, to += 2 * kPairColumns) {
            interleave(x, p + 1 < pixels ? x + width : nullptr, to, columns);
        }
        zero_terms(to, (steps - (pixels + 1) / 2 * 2) * kPairColumns);
    }

    // Stores filters [top, top + rows) of a panel into gw.
    void put(const float* from, int64_t group, int64_t p, int64_t top, int64_t rows) const {
        const int64_t S = gather_.axis[2].taps.size(), R = gather_.axis[1].taps.size();
        const int64_t begin = p * kPairColumns, end = smaller(columns_, begin + kPairColumns);
        for (int64_t column = begin; column < end;) {
            const int64_t tap = column / call_.channels, c = column % call_.channels;
            const int64_t count = smaller(call_.channels - c, end - column);
            BFloat16* const to = reinterpret_cast<BFloat16*>(call_.gw.data) + group * call_.step_group +
                                 gather_.axis[2].taps[tap % S].filter * call_.gw.step[2] +
                                 gather_.axis[1].taps[tap / S % R].filter * call_.gw.step[1] +
                                 gather_.axis[0].taps[tap / S / R].filter * call_.gw.step[0] + c * call_.gw.step_c +
                                 top * call_.gw.step_k;
            deliver<BFloat16>(from + column - begin, kPairColumns, to, call_.gw.step_k, call_.gw.step_c, rows, count);
            column += count;
        }
    }

    void add_segments(int64_t group, int64_t p) const {
        float* const sum = partials_ + (group * panels_ + p) * panel();
        const int64_t count = call_.filters * kPairColumns;
        for (int64_t s = 1; s < segments_; ++s) {
            const float* const more = sum + s * all();
            for (int64_t i = 0; i < count; i += kLanes<float>) store(sum + i, load(sum + i) + load(more + i));
        }
        put(sum, group, p, 0, call_.filters);
    }

    const WgradCall& call_;
    const PairUnit& unit_;
    const Gather& gather_;
    int64_t sizes_[kAxes];
    int64_t columns_, panels_, rows_;  // of gw, and filters in whole tiles
    Boxes boxes_;
    PairPixels pixels_;
    int64_t cuts_, tall_, each_, each_rows_, segments_, steps_;
    float* partials_ = nullptr;
};

bool finite(const WgradCall& call) {
    const int64_t S = call.gather->axis[2].taps.size(), R = call.gather->axis[1].taps.size();
    for (int64_t t = 0; t < call.gather->taps(); ++t) {
        const BFloat16* const at = reinterpret_cast<const BFloat16*>(call.gw.data) + t % S * call.gw.step[2] +
                                   t / S % R * call.gw.step[1] + t / S / R * call.gw.step[0];
        for (int64_t c = 0; c < call.channels; ++c) {
            for (int64_t group = 0; group < call.groups; ++group) {
                const BFloat16* const row = at + c * call.gw.step_c + group * call.step_group;
                for (int64_t k = 0; k < call.filters; ++k) {
                    if ((row[k * call.gw.step_k].bits & 0x7f80) == 0x7f80) return false;
                }
            }
        }
    }
    return true;
}

void wgrad_by(const WgradCall& call, const PairUnit& unit) {
    if (call.groups > 1 && (call.channels < 4 || call.filters < 4)) return conv_wgrad<BFloat16>(call);
    PairGradient(call, unit).run();
    if (call.gather->padded && !finite(call)) conv_wgrad<BFloat16>(call);
}

}  // namespace

void conv_wgrad_amx(const WgradCall& call) { wgrad_by(call, kAmx); }
void conv_wgrad_pairs(const WgradCall& call) { wgrad_by(call, kDotProducts); }

}  // namespace convgpu::cpu::CONVGPU_ISA
#endif
