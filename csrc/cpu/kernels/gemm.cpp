// Matrix products: y = activation(alpha * a @ b + beta * c), for a stack of matrices.
//
// A thread owns a tile of y: some 240 rows and some panels of kWidth columns of one item.
// Layouts: any. Rows of a are read where they are if their elements are neighbours of the computing type, else from a
// copy of kSlab terms. b is packed into panels, together if they take less than kPanels bytes, else block by block by
// each tile; if y has few rows, b is read where it is.
// Order: terms in blocks of kBlock (product.h), blocks in chains of kChain terms, then the chains. It does not depend
// on the tiles.
#include "../kernels.h"
#include "../threads.h"
#include "activate.h"
#include "pixels.h"
#include "product.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kTileRows = 240, kFewestRows = 48, kTiles = 32;
constexpr int64_t kFewRows = 24;  // for so few rows, packing b costs as much as the product
constexpr int64_t kSlab = 4 * kBlock;
constexpr int64_t kChain = 64 * kBlock;
constexpr int64_t kPanels = int64_t(16) << 20;
constexpr double kSmall = 1 << 17;

template <class T>
class Gemm {
    using A = Accumulator<T>;

public:
    explicit Gemm(const GemmCall& call)
        : call_(call), width_(panel_width<A>(call.N)), panels_(parts(call.N, width_)), rows_(kTileRows) {
        while (rows_ / 2 >= kFewestRows && call.items * parts(call.M, rows_) * panels_ < kTiles) rows_ /= 2;
        rows_ = smaller(parts(larger<int64_t>(call.M, 1), kRows) * kRows, rows_);
        a_in_place_ = sizeof(T) == sizeof(A) && (call.a.step_j == 1 || call.K == 1);
        b_in_place_ = sizeof(T) == sizeof(A) && call.b.step_j == 1 && call.M <= kFewRows;
        y_in_place_ = sizeof(T) == sizeof(A);
        item_ = parts(call.N, kLanes<A>) * kLanes<A> * call.K;
        packed_items_ = call.b.step_n == 0 ? 1 : call.items;
        kept_ = !b_in_place_ && packed_items_ * item_ * static_cast<int64_t>(sizeof(A)) <= kPanels;
    }

    void run() {
        if (call_.items == 0 || call_.M == 0 || call_.N == 0) return;
        const double products = static_cast<double>(call_.items) * call_.M * call_.N * call_.K;
        const int threads = products < kSmall ? 1 : call_.threads;
        const Memory packed(kept_ ? packed_items_ * item_ * sizeof(A) : 0);
        packed_ = reinterpret_cast<A*>(packed.data());
        if (kept_) pack(threads);
        const int64_t tall = parts(call_.M, rows_), cuts = smaller(panels_, parts(kTiles, call_.items * tall));
        parallel_for(call_.items * tall * cuts, threads, scratch_bytes(), [&](int64_t i, char* scratch) {
            tile(i / cuts / tall, i / cuts % tall * rows_, panels_ * (i % cuts) / cuts, panels_ * (i % cuts + 1) / cuts,
                 scratch);
        });
    }

private:
    void pack(int threads) {
        const int64_t cuts = parts(call_.K, kSlab);
        parallel_for(packed_items_ * panels_ * cuts, threads, 0, [&](int64_t i, char*) {
            const int64_t begin = i % cuts * kSlab, end = smaller(call_.K, begin + kSlab);
            const int64_t panel = i / cuts % panels_, item = i / cuts / panels_;
            const int width = panel_of<A>(call_.N - panel * width_, width_).width();
            pack_rows(item, panel, begin, end, packed_ + item * item_ + panel * width_ * call_.K + begin * width);
        });
    }

    void pack_rows(int64_t item, int64_t panel, int64_t begin, int64_t end, A* to) const {
        const int64_t first = panel * width_, columns = smaller(width_, call_.N - first);
        pack_filters<T>(at<T>(call_.b, item, begin, first), call_.b.step_i, call_.b.step_j, to,
                        panel_of<A>(columns).width(), end - begin, columns);
    }

    template <class E>
    static E* at(const Matrices& m, int64_t n, int64_t i, int64_t j) {
        return reinterpret_cast<E*>(m.data) + n * m.step_n + i * m.step_i + j * m.step_j;
    }

    size_t scratch_bytes() const {
        const int64_t elements =
            (a_in_place_ ? 0 : rows_ * kSlab) +
            (kept_ ? 0 : kBlock * kWidth<A>)+(y_in_place_ ? 0 : rows_ * kWidth<A>)+(chained() ? rows_ * kWidth<A> : 0);
        return elements * sizeof(A) + 3 * rows_ * sizeof(A*);
    }

    void tile(int64_t item, int64_t first_row, int64_t begin, int64_t end, char* scratch) const {
        const int64_t rows = smaller(rows_, call_.M - first_row);
        const A** const a = reinterpret_cast<const A**>(scratch);
        A** const y = reinterpret_cast<A**>(scratch) + rows_;
        A** const chain = reinterpret_cast<A**>(scratch) + 2 * rows_;
        A* const copy = reinterpret_cast<A*>(scratch + 3 * rows_ * sizeof(A*));
        A* const block = copy + (a_in_place_ ? 0 : rows_ * kSlab);
        A* const result = block + (kept_ ? 0 : kBlock * kWidth<A>);
        A* const sums = result + (y_in_place_ ? 0 : rows_ * kWidth<A>);
        for (int64_t r = 0; r < rows; ++r) chain[r] = sums + r * kWidth<A>;
        for (int64_t panel = begin; panel < end; ++panel) {
            const int64_t first = panel * width_;
            const Panel<A> columns = panel_of<A>(call_.N - first, width_);
            for (int64_t r = 0; r < rows; ++r) {
                y[r] = y_in_place_ ? at<A>(call_.y, item, first_row + r, first) : result + r * kWidth<A>;
            }
            for (int64_t slab = 0; slab == 0 || slab < call_.K; slab += kSlab) {
                const int64_t terms = smaller(kSlab, call_.K - slab);
                // A copy that holds all terms serves all panels.
                if (!a_in_place_ && (call_.K > kSlab || panel == begin)) {
                    fetch<T>(at<const T>(call_.a, item, first_row, slab), call_.a.step_i, call_.a.step_j, copy, kSlab,
                             rows, terms);
                }
                for (int64_t r = 0; r < parts(rows, kRows) * kRows; ++r) {
                    const int64_t row = smaller(r, rows - 1);
                    a[r] = a_in_place_ ? at<const A>(call_.a, item, first_row + row, slab) : copy + row * kSlab;
                }
                for (int64_t k = 0; k == 0 || k < terms; k += kBlock) {
                    const int64_t stop = smaller(terms, k + kBlock);
                    const bool read_b = b_in_place_ && columns.last == kLanes<A>;
                    const A* const b = read_b ? at<const A>(call_.b, item, slab + k, first)
                                              : terms_of_b(item, panel, slab + k, slab + stop, block);
                    const int64_t step = read_b ? call_.b.step_i : columns.width();
                    const Finish<A> finish{(slab + k) % kChain > 0, nullptr, false};
                    for (int64_t r = 0; r < rows; r += kRows) {
                        multiply(columns, Rows<A>{a + r, 0, kUnshifted}, 1, k, stop, b, step,
                                 (slab < kChain ? y : chain) + r, 0,
                                 static_cast<int>(smaller<int64_t>(kRows, rows - r)), finish);
                    }
                }
                const bool ends = slab + kSlab >= call_.K || (slab + kSlab) % kChain == 0;
                if (ends && slab >= kChain) add_chain(rows, columns, chain, y);
            }
            end_panel(item, first_row, rows, first, columns, y, result);
        }
    }

    bool chained() const { return call_.K > kChain; }

    static void add_chain(int64_t rows, const Panel<A>& columns, const A* const* chain, A* const* y) {
        const int count = (columns.vectors - 1) * kLanes<A> + columns.last;
        for (int64_t r = 0; r < rows; ++r) {
            for (int n = 0; n < count; ++n) y[r][n] += chain[r][n];
        }
    }

    const A* terms_of_b(int64_t item, int64_t panel, int64_t begin, int64_t end, A* block) const {
        if (kept_) {
            const int width = panel_of<A>(call_.N - panel * width_, width_).width();
            return packed_ + (packed_items_ == 1 ? 0 : item) * item_ + panel * width_ * call_.K + begin * width;
        }
        pack_rows(item, panel, begin, end, block);
        return block;
    }

    void end_panel(int64_t item, int64_t first_row, int64_t rows, int64_t first, const Panel<A>& columns, A* const* y,
                   const A* result) const {
        const int count = (columns.vectors - 1) * kLanes<A> + columns.last;
        const A alpha = static_cast<A>(call_.alpha), beta = static_cast<A>(call_.beta);
        for (int64_t r = 0; r < rows; ++r) {
            A* const row = y[r];
            if (alpha != 1) {
                for (int n = 0; n < count; ++n) row[n] *= alpha;
            }
            if (call_.c.data) {
                const T* const c = at<const T>(call_.c, item, first_row + r, first);
                for (int n = 0; n < count; ++n) row[n] += beta * widened(c[n * call_.c.step_j]);
            }
            activate(call_.activation, row, count);
        }
        if (y_in_place_) return;
        deliver<T>(result, kWidth<A>, at<T>(call_.y, item, first_row, first), call_.y.step_i, 1, rows, count);
    }

    const GemmCall& call_;
    int64_t width_, panels_, rows_, item_, packed_items_;
    bool a_in_place_, b_in_place_, y_in_place_, kept_;
    A* packed_ = nullptr;
};

}  // namespace

template <class T>
void gemm(const GemmCall& call) {
    Gemm<T>(call).run();
}

CONVGPU_FOR_EACH_DTYPE(gemm, GemmCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
