// Convolution (conv_fprop, and conv_dgrad phase by phase) and gemm of bfloat16 by a unit for pairs of terms (pairs.h).
//
//   y[pixel][k] = activation(alpha * sum over taps, c of x[pixel at tap][c] * w[tap][c][k] + bias[k] + beta *
//   c[pixel][k])
//
// gemm is a convolution of one tap: its rows are pixels, its items are groups.
// A thread owns the results of a tile: a box of up to kPixels pixels and some panels of columns of one group.
// Layouts: any. What the box reads is copied into rows of kPairBlock terms, or read where it is if the only tap has
// whole steps of neighbours. Filters are packed into panels, together if they take less than kPanels bytes, else block
// by block by each tile. Assumes that filters are finite where a tap may lie in the padding; if they are not, the
// kernels for float32 compute. Order: terms in blocks of kPairBlock, one block after the other. It does not depend on
// the tiles.
#include "../threads.h"
#include "activate.h"
#include "pairs_pack.h"
#include "pixels.h"
#include "table.h"

#if defined(CONVGPU_PAIRS)
namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kPixels = 256, kFewestPixels = 64;  // of a tile, where there are enough
constexpr int64_t kTiles = 16;                        // so many tiles are enough for any number of threads
constexpr int64_t kPanels = int64_t(16) << 20;
constexpr int64_t kMostColumns = 512;  // of a tile
constexpr double kSmall = 1 << 19;

struct Product {
    Images x, y;
    Filters w;
    const Gather* gather;
    int64_t groups, reads, makes;
    int64_t x_group, y_group, w_group;  // elements from a group to the next
    const BFloat16* bias = nullptr;
    Matrices c;  // c.data may be null
    float alpha = 1, beta = 0;
    Activation activation;
    int threads;
};

class PairProduct {
public:
    PairProduct(const Product& call, const PairUnit& unit)
        : call_(call),
          unit_(unit),
          gather_(*call.gather),
          sizes_{gather_.axis[0].count, gather_.axis[1].count, gather_.axis[2].count},
          terms_(gather_.taps() * call.reads),
          panels_(parts(call.makes, kPairColumns)),
          boxes_(call.x.batch, sizes_, box_size()),
          rows_(parts(boxes_.pixels(), kPairRows) * kPairRows),
          filters_(call.w, gather_, call.w_group, call.groups, call.reads, call.makes),
          pixels_(call.x, gather_, call.reads) {
        cuts_ = larger(smaller(panels_, parts(kTiles, boxes_.count() * call.groups)),
                       parts(panels_ * kPairColumns, kMostColumns));
        each_ = parts(panels_, cuts_);
        kept_ = filters_.bytes() <= kPanels;
        // Pixels follow each other at one distance: no copy is needed.
        const Images& x = call.x;
        in_place_ = gather_.taps() == 1 && !gather_.padded && x.step_c == 1 && call.reads % kPairTerms == 0;
        int64_t next = x.step[2];
        for (int a = kAxes - 1; a >= 0; --a) {
            const GatherAxis& axis = gather_.axis[a];
            if (!in_place_) break;
            in_place_ = axis.taps[0].offset == 0 && (axis.count == 1 || (axis.step == 1 && x.step[a] == next));
            next *= axis.count;
        }
        in_place_ &= x.batch == 1 || x.step_n == next;
    }

    bool finite() const { return filters_.finite(); }

    void run() {
        const double products =
            static_cast<double>(call_.x.batch) * gather_.pixels() * terms_ * call_.makes * call_.groups;
        const int threads = products < kSmall ? 1 : call_.threads;
        const Memory packed(kept_ ? filters_.bytes() : 0);
        if (kept_) filters_.pack(reinterpret_cast<BFloat16*>(packed.data()), threads);
        parallel_for(boxes_.count() * call_.groups * cuts_, threads, scratch_bytes(), [&](int64_t i, char* scratch) {
            const int64_t part = i % cuts_;
            unit_.begin();
            tile(boxes_[i / cuts_ / call_.groups], i / cuts_ % call_.groups, part * each_,
                 smaller(panels_, (part + 1) * each_), scratch);
            unit_.end();
        });
    }

private:
    int64_t box_size() const {
        const int64_t pixels = call_.x.batch * gather_.pixels();
        int64_t size = kPixels;
        while (size / 2 >= kFewestPixels && parts(pixels, size) * panels_ * call_.groups < kTiles) size /= 2;
        return size;
    }

    int64_t row() const { return whole_steps(smaller(terms_, kPairBlock)); }
    int64_t sums() const { return rows_ * kPairColumns * (terms_ > kPairBlock ? each_ : 1); }
    size_t scratch_bytes() const {
        return rows_ * row() * sizeof(BFloat16) + sums() * sizeof(float) +
               (kept_ ? 0 : kPairBlock * kPairColumns * sizeof(BFloat16)) + kPairColumns * sizeof(float);
    }

    void tile(const Box& box, int64_t group, int64_t begin, int64_t end, char* memory) const {
        float* const all = reinterpret_cast<float*>(memory);
        float* const bias = all + sums();
        BFloat16* const copy = reinterpret_cast<BFloat16*>(bias + kPairColumns);
        BFloat16* const panel = copy + rows_ * row();
        const int64_t pixels = box.pixels();
        // Rows beyond the last one are computed, too, and must exist.
        const bool in_place = in_place_ && pixels % 16 == 0;
        for (int64_t block = 0; block < terms_; block += kPairBlock) {
            const int64_t last = smaller(terms_, block + kPairBlock);
            const BFloat16* a = copy;
            int64_t step_a = row();
            if (in_place) {
                a = call_.x.at<const BFloat16>(box.begin[0], box.begin[1], box.begin[2], box.begin[3], block) +
                    group * call_.x_group;
                step_a = step_of_pixels();
            } else {
                pixels_.copy(box, group * call_.x_group, block, last, copy, step_a);
            }
            for (int64_t p = begin; p < end; ++p) {
                const BFloat16* const b = filters_.block(group, p, block, panel);
                float* const sum = terms_ > kPairBlock ? all + (p - begin) * rows_ * kPairColumns : all;
                const int columns = static_cast<int>(smaller<int64_t>(kPairColumns, call_.makes - p * kPairColumns));
                for (int64_t r = 0; r < pixels; r += kPairRows) {
                    unit_.multiply(a + r * step_a, step_a, b, whole_steps(last - block) / kPairTerms,
                                   sum + r * kPairColumns, static_cast<int>(smaller<int64_t>(kPairRows, pixels - r)),
                                   columns, block > 0);
                }
                if (last == terms_) finish(box, group, p * kPairColumns, columns, sum, bias);
            }
        }
    }

    int64_t step_of_pixels() const {
        for (int a = kAxes - 1; a >= 0; --a) {
            if (gather_.axis[a].count > 1) return call_.x.step[a];
        }
        return call_.x.step_n;
    }

    // Makes results of the sums of one panel, and delivers them.
    void finish(const Box& box, int64_t group, int64_t first, int columns, float* sums, float* bias) const {
        for (int k = 0; k < kPairColumns; ++k) {
            bias[k] = call_.bias && k < columns ? widened(call_.bias[group * call_.makes + first + k]) : 0.0f;
        }
        const GatherAxis* const axis = gather_.axis;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j) {
                    const int64_t pixels = box.count(3), w = axis[2].first + box.begin[3] * axis[2].apart;
                    finish_row(sums, box.begin[3], group, first, pixels, columns, bias);
                    BFloat16* const to = call_.y.at<BFloat16>(n, axis[0].first + i * axis[0].apart,
                                                              axis[1].first + j * axis[1].apart, w, first) +
                                         group * call_.y_group;
                    const int64_t step = axis[2].apart * call_.y.step[2];
                    if (call_.y.step_c == 1) {
                        for (int64_t p = 0; p < pixels; ++p) {
                            for (int k = 0; k < columns; k += 16) {
                                write_lanes(to + p * step + k, load(sums + p * kPairColumns + k),
                                            smaller(16, columns - k));
                            }
                        }
                    } else {
                        deliver<BFloat16>(sums, kPairColumns, to, step, call_.y.step_c, pixels, columns);
                    }
                    sums += pixels * kPairColumns;
                }
            }
        }
    }

    void finish_row(float* sums, int64_t row, int64_t group, int64_t first, int64_t pixels, int columns,
                    const float* bias) const {
        const bool linear = call_.alpha == 1 && !call_.c.data;
        if (linear && !call_.bias && call_.activation == Activation::kNone) return;
        for (int64_t p = 0; p < pixels; ++p, sums += kPairColumns) {
            for (int k = 0; k < columns; k += 16) store(sums + k, load(sums + k) * call_.alpha + load(bias + k));
            if (call_.c.data) {
                const BFloat16* const c = reinterpret_cast<const BFloat16*>(call_.c.data) + group * call_.c.step_n +
                                          (row + p) * call_.c.step_i + first * call_.c.step_j;
                for (int k = 0; k < columns; ++k) sums[k] += call_.beta * widened(c[k * call_.c.step_j]);
            }
            activate(call_.activation, sums, columns);
        }
    }

    const Product& call_;
    const PairUnit& unit_;
    const Gather& gather_;
    int64_t sizes_[kAxes];
    int64_t terms_, panels_, cuts_, each_;  // each_: panels of a tile
    Boxes boxes_;
    int64_t rows_;  // of a box, in whole tiles
    PairFilters filters_;
    PairPixels pixels_;
    bool kept_, in_place_;
};

void convolve_by(const ConvCall& call, const PairUnit& unit) {
    const bool narrow = call.groups > 1 && (call.reads < 4 || call.makes < 4);
    if (narrow || call.makes == 0) return convolve<BFloat16>(call);
    for (const Gather& gather : *call.gathers) {
        if (call.x.batch * gather.pixels() == 0) continue;
        const Product product{call.x,
                              call.y,
                              call.w,
                              &gather,
                              call.groups,
                              call.reads,
                              call.makes,
                              call.reads * call.x.step_c,
                              call.makes * call.y.step_c,
                              call.step_group,
                              static_cast<const BFloat16*>(call.bias),
                              {},
                              1,
                              0,
                              call.activation,
                              call.threads};
        PairProduct kernel(product, unit);
        if (gather.taps() * call.reads == 0 || (gather.padded && !kernel.finite())) {
            convolve_gather<BFloat16>(call, gather);
        } else {
            kernel.run();
        }
    }
}

void gemm_by(const GemmCall& call, const PairUnit& unit) {
    if (call.items == 0 || call.M == 0 || call.N == 0 || call.K == 0) return gemm<BFloat16>(call);
    Product product{{},
                    {},
                    {},
                    call.rows,
                    call.items,
                    call.K,
                    call.N,
                    call.a.step_n,
                    call.y.step_n,
                    call.b.step_n,
                    nullptr,
                    call.c,
                    static_cast<float>(call.alpha),
                    static_cast<float>(call.beta),
                    call.activation,
                    call.threads};
    product.x.data = call.a.data;
    product.x.size[2] = call.M;
    product.x.step[2] = call.a.step_i;
    product.x.step_c = call.a.step_j;
    product.y.data = call.y.data;
    product.y.step[2] = call.y.step_i;
    product.y.step_c = 1;
    product.w.data = call.b.data;
    product.w.step_c = call.b.step_i;
    product.w.step_k = call.b.step_j;
    PairProduct(product, unit).run();
}

}  // namespace

void convolve_amx(const ConvCall& call) { convolve_by(call, kAmx); }
void convolve_pairs(const ConvCall& call) { convolve_by(call, kDotProducts); }
void gemm_amx(const GemmCall& call) { gemm_by(call, kAmx); }
void gemm_pairs(const GemmCall& call) { gemm_by(call, kDotProducts); }

}  // namespace convgpu::cpu::CONVGPU_ISA
#endif
