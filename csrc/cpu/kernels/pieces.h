// Cuts the arrays of an elementwise op into pieces whose elements are neighbours.
//
// A tile is some rows along the innermost axis, or a part of one; tiles follow from the sizes alone. An operand whose
// elements are no neighbours along that axis is copied piece by piece, one that repeats an element likewise.
#pragma once
#include "../calls/elementwise.h"
#include "../dtypes.h"
#include "../threads.h"
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

constexpr int64_t kTileElements = 1 << 15;        // a call of no more elements runs on one thread
constexpr int64_t kPiece = 1024;                  // elements that are copied at a time
constexpr size_t kCopiedBytes = size_t(1) << 20;  // at most so many bytes of copies, where there are few operands

template <class T>
class Pieces {
public:
    explicit Pieces(const ElementwiseCall& call) : call_(call), inner_(call.size[call.rank - 1]), last_(call.rank - 1) {
        for (int64_t a = 0; a < last_; ++a) rows_ *= call.size[a];
        columns_ = parts(inner_, parts(inner_, kTileElements));
        cuts_ = parts(inner_, columns_);
        each_ = cuts_ > 1 ? 1 : larger<int64_t>(kTileElements / inner_, 1);
        whole_ = neighbours(call.y);
        for (int64_t i = 0; i < call.count; ++i) whole_ &= neighbours(call.x[i]);
        const int64_t room = static_cast<int64_t>(kCopiedBytes / sizeof(T)) / (call.count + 1) / 64 * 64;
        piece_ = whole_ ? columns_ : smaller(kPiece, larger<int64_t>(room, 64));
    }

    // Calls use(x, y, n) for every piece: x[i] points to n elements of operand i.
    template <class Use>
    void for_each(const Use& use) const {
        run([](const void* context, const T* const* x, T* y,
               int64_t n) { (*static_cast<const Use*>(context))(x, y, n); },
            &use);
    }

private:
    // It knows the function by its address, so that it is compiled once for each dtype and not for each function.
    void run(void (*use)(const void*, const T* const*, T*, int64_t), const void* context) const {
        const int64_t tiles = parts(rows_, each_) * cuts_;
        const size_t copies = whole_ ? 0 : (call_.count + 1) * piece_ * sizeof(T);
        const size_t pointers = static_cast<size_t>(parts(call_.count * sizeof(T*), 64)) * 64;
        parallel_for(tiles, call_.threads, pointers + copies, [&](int64_t tile, char* scratch) {
            const int64_t begin = tile % cuts_ * columns_, end = smaller(inner_, begin + columns_);
            const int64_t first = tile / cuts_ * each_;
            const T** const x = reinterpret_cast<const T**>(scratch);
            T* const copied = reinterpret_cast<T*>(scratch + pointers);
            for (int64_t row = first; row < smaller(rows_, first + each_); ++row) {
                for (int64_t at = begin; at < end; at += piece_) {
                    const int64_t n = smaller(piece_, end - at);
                    for (int64_t i = 0; i < call_.count; ++i)
                        x[i] = readable(call_.x[i], row, at, n, copied + i * piece_);
                    T* const to = element(call_.y, row, at);
                    const int64_t step = call_.y.step[last_];
                    if (step == 1 || n == 1) {
                        use(context, x, to, n);
                        continue;
                    }
                    T* const y = copied + call_.count * piece_;
                    use(context, x, y, n);
                    for (int64_t j = 0; j < n; ++j) to[j * step] = y[j];
                }
            }
        });
    }

    bool neighbours(const Operand& array) const { return array.step[last_] == 1 || inner_ == 1; }

    T* element(const Operand& array, int64_t row, int64_t column) const {
        T* p = reinterpret_cast<T*>(array.data) + column * array.step[last_];
        for (int64_t a = last_ - 1; a >= 0; row /= call_.size[a], --a) p += row % call_.size[a] * array.step[a];
        return p;
    }

    const T* readable(const Operand& array, int64_t row, int64_t column, int64_t n, T* copied) const {
        const T* const from = element(array, row, column);
        const int64_t step = array.step[last_];
        if (step == 1 || n == 1) return from;
        if (step == 0) {
            const T one = *from;
            for (int64_t j = 0; j < n; ++j) copied[j] = one;
        } else {
            for (int64_t j = 0; j < n; ++j) copied[j] = from[j * step];
        }
        return copied;
    }

    const ElementwiseCall& call_;
    int64_t inner_, last_, rows_ = 1, columns_, cuts_, each_, piece_;
    bool whole_ = true;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
