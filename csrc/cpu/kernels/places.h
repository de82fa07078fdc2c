// The order in which the pixels of a box become rows of a product: pixels that lack the same taps follow each other, so
// that a group of rows leaves out what none of them has.
#pragma once
#include "source.h"

namespace convgpu::cpu::CONVGPU_ISA {

// The row of a pixel, and where the pointer to the first of its taps is.
struct Place {
    int32_t row, pointer;
};

// The outputs of an axis of a box, cut where the taps that lie inside the image change.
class Ranges {
public:
    Ranges() = default;
    Ranges(const Box& box, int a) : count_(1), end_{0, box.count(1 + a)} {}
    Ranges(const Box& box, int a, const GatherAxis& axis, int64_t size) : Ranges(box, a) {
        // Those in the middle have all taps; of those at the ends, only the first few are told apart.
        count_ = 0;
        const int64_t count = box.count(1 + a);
        for (int64_t i = 0; i < count && count_ + 1 < kMost;) {
            const int64_t at = (box.begin[1 + a] + i) * axis.step;
            int64_t next = count;
            for (const Tap& tap : axis.taps) {
                const int64_t x = at + tap.offset;
                if (x < 0) next = smaller(next, i + parts(-x, axis.step));
                if (x < size) next = smaller(next, i + parts(size - x, axis.step));
            }
            end_[++count_] = i = next;
        }
        if (end_[count_] < count) end_[++count_] = count;
    }
    int count() const { return count_; }
    int64_t begin(int i) const { return end_[i]; }
    int64_t end(int i) const { return end_[i + 1]; }

private:
    static constexpr int kMost = 16;
    int count_ = 0;
    int64_t end_[kMost + 1] = {};
};

// Calls use(n, i, j, k), counted from the beginning of the box, for all pixels of one combination of ranges after the
// other.
template <class Use>
CONVGPU_INLINE void for_each_pixel_by_class(const Box& box, const Ranges (&ranges)[kAxes], Use use) {
    for (int d = 0; d < ranges[0].count(); ++d) {
        for (int h = 0; h < ranges[1].count(); ++h) {
            for (int w = 0; w < ranges[2].count(); ++w) {
                for (int64_t n = 0; n < box.count(0); ++n) {
                    for (int64_t i = ranges[0].begin(d); i < ranges[0].end(d); ++i) {
                        for (int64_t j = ranges[1].begin(h); j < ranges[1].end(h); ++j) {
                            for (int64_t k = ranges[2].begin(w); k < ranges[2].end(w); ++k) use(n, i, j, k);
                        }
                    }
                }
            }
        }
    }
}

// Which of `count` pixels, the first at x and each `step` behind the last, lie inside an axis.
CONVGPU_INLINE Span inside_of(int64_t x, int64_t step, int64_t size, int64_t count) {
    const int64_t end = smaller(x < size ? parts(size - x, step) : 0, count);
    return {smaller(x < 0 ? parts(-x, step) : 0, end), end};
}

}  // namespace convgpu::cpu::CONVGPU_ISA
