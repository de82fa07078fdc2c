// Cuts the pixels of a result into boxes: some images, some planes, some rows, some pixels of a row. Boxes follow from
// the sizes alone.
#pragma once
#include "../views.h"
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

struct Box {
    int64_t begin[1 + kAxes], end[1 + kAxes];  // images, then the three axes
    CONVGPU_INLINE int64_t count(int a) const { return end[a] - begin[a]; }
    CONVGPU_INLINE int64_t pixels() const { return count(0) * count(1) * count(2) * count(3); }
};

class Boxes {
public:
    // Boxes of at most `most` pixels, or of one.
    Boxes(int64_t images, const int64_t (&size)[kAxes], int64_t most) : size_{images, size[0], size[1], size[2]} {
        int64_t room = larger<int64_t>(most, 1);
        count_ = 1;
        for (int a = kAxes; a >= 0; --a) {
            const int64_t whole = larger<int64_t>(size_[a], 1);
            cuts_[a] = parts(whole, smaller(whole, room));
            part_[a] = parts(whole, cuts_[a]);
            cuts_[a] = parts(size_[a], part_[a]);
            count_ *= cuts_[a];
            room = part_[a] < whole ? 1 : larger<int64_t>(room / part_[a], 1);
        }
    }

    int64_t count() const { return count_; }
    int64_t pixels() const { return part_[0] * part_[1] * part_[2] * part_[3]; }  // of the largest box
    int64_t part(int a) const { return part_[a]; }

    Box operator[](int64_t i) const {
        Box box;
        for (int a = kAxes; a >= 0; --a) {
            box.begin[a] = i % cuts_[a] * part_[a];
            box.end[a] = smaller(size_[a], box.begin[a] + part_[a]);
            i /= cuts_[a];
        }
        return box;
    }

private:
    int64_t size_[1 + kAxes], part_[1 + kAxes], cuts_[1 + kAxes], count_;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
