// Planes of channels_first arrays: the pixels of a row are neighbours, and vectors lie along the rows.
//
// Rows are copied with what lies outside of them, as a value of the caller's choice, so that no vector asks where it
// is. A window with a stride reads every stride-th pixel: the copies are then split into as many phases, each of which
// holds pixels that are a stride apart, so that neighbouring windows read neighbours through one tap. All rows of a
// tile are copied first, then split, then used, since a processor waits where it reads what it has just written in
// other pieces. A gradient is computed phase by phase, and its phases are merged into a row.
#pragma once
#include <utility>

#include "windows.h"

namespace convgpu::cpu::CONVGPU_ISA {

// Whether vectors along the rows read what lies side by side, and vectors of channels would not.
CONVGPU_INLINE bool has_planes(const Images& x) {
    return (x.step[2] == 1 || x.size[2] == 1) && (x.step_c != 1 || x.channels == 1);
}

#if defined(__clang__) || __GNUC__ >= 12
template <class A, size_t... I>
CONVGPU_INLINE Vector<A> evens(Vector<A> a, Vector<A> b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b, static_cast<int>(2 * I)...);
}
template <class A, int kFrom, size_t... I>
CONVGPU_INLINE Vector<A> zipped(Vector<A> a, Vector<A> b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b, static_cast<int>(kFrom + I / 2 + I % 2 * kLanes<A>)...);
}
#else
template <class A, size_t... I>
CONVGPU_INLINE Vector<A> evens(Vector<A> a, Vector<A> b, std::index_sequence<I...>) {
    return __builtin_shuffle(a, b, Integers<A>{static_cast<int>(2 * I)...});
}
template <class A, int kFrom, size_t... I>
CONVGPU_INLINE Vector<A> zipped(Vector<A> a, Vector<A> b, std::index_sequence<I...>) {
    return __builtin_shuffle(a, b, Integers<A>{static_cast<int>(kFrom + I / 2 + I % 2 * kLanes<A>)...});
}
#endif
template <class A>
CONVGPU_INLINE A sum_lanes(Vector<A> v) {
    A lanes[kLanes<A>];
    store(lanes, v);
#pragma GCC unroll 4
    for (int half = kLanes<A> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

template <class A>
using EachLane = std::make_index_sequence<kLanes<A>>;

CONVGPU_INLINE int lanes_of(int64_t n, int most) {
    return static_cast<int>(larger<int64_t>(smaller<int64_t>(n, most), 0));
}

// to[i] = from[i * stride] for i below n. Nothing behind from[(n - 1) * stride] is read.
template <class T>
CONVGPU_INLINE void take_every(const T* from, int64_t stride, Accumulator<T>* to, int64_t n) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    int64_t i = 0;
    if (stride == 1) {
        for (; i + L <= n; i += L) store(to + i, read_lanes(from + i, L));
    } else if (stride == 2) {
        for (; i + L < n; i += L) {
            store(to + i, evens<A>(read_lanes(from + 2 * i, L), read_lanes(from + 2 * i + L, L), EachLane<A>{}));
        }
    }
#if defined(__AVX512F__)
    if (stride <= 2) {
        for (; i < n; i += L) {
            const int64_t left = (n - i - 1) * stride + 1;
            const Vector<A> a = read_lanes(from + stride * i, lanes_of(left, L));
            if (stride == 1) {
                store_first(to + i, a, lanes_of(n - i, L));
                continue;
            }
            const Vector<A> b = left > L ? read_lanes(from + 2 * i + L, lanes_of(left - L, L)) : Vector<A>{};
            store_first(to + i, evens<A>(a, b, EachLane<A>{}), lanes_of(n - i, L));
        }
        return;
    }
#endif
    for (; i < n; ++i) to[i] = widened(from[i * stride]);
}

template <class A>
CONVGPU_INLINE int64_t whole(int64_t n) {
    return parts(n, kLanes<A>) * kLanes<A>;
}

// Copies of the rows of a tile, and their phases.
template <class A>
class RowCopies {
public:
    // Of what `count` outputs read, the first of which begins at pixel `first` of rows of `size` pixels.
    RowCopies(const PoolAxis& a, int64_t size, int64_t first, int64_t count, int64_t rows)
        : RowCopies(size, first, parts((count - 1) * a.stride + (a.window - 1) * a.dilation + 1, a.stride) * a.stride,
                    rows) {
        stride_ = a.stride;
        used_ = a.dilation == 1 ? smaller(a.stride, a.window) : a.stride;
        length_ = rows * step() + kLanes<A>;
    }
    // Of pixels [first, first + count) themselves.
    RowCopies(int64_t size, int64_t first, int64_t count, int64_t rows)
        : rows_(rows),
          pitch_(count),
          begin_(smaller(larger<int64_t>(-first, 0), count)),
          end_(larger(smaller(size - first, count), begin_)),
          from_(larger<int64_t>(first, 0)),
          whole_row_(begin_ == 0 && end_ == count && from_ == 0 && size == count),
          length_(rows * count + kLanes<A>) {}

    CONVGPU_INLINE int64_t pitch() const { return pitch_; }           // of copied rows
    CONVGPU_INLINE int64_t step() const { return pitch_ / stride_; }  // from row to row of a phase
    int64_t copied() const { return rows_ * pitch_ + kLanes<A>; }
    int64_t split() const { return stride_ == 1 ? 0 : used_ * length_; }
    // Where the pixel of the first row is that lies `distance` pixels behind `first`.
    CONVGPU_INLINE int64_t at(int64_t distance) const { return distance % stride_ * length_ + distance / stride_; }

    // Fills all copies. Later ones write only what lies in the rows.
    void fill(A outside, A* copies) const {
        for (int64_t i = 0; i < copied(); ++i) copies[i] = outside;
    }
    // Copies a row from its first pixel.
    template <class T>
    CONVGPU_INLINE void copy(const T* row, A* to) const {
        take_every(row + from_, 1, to + begin_, end_ - begin_);
    }
    // The same through change(vector, i), where i counts from the beginning of the copy.
    template <class T, class Change>
    CONVGPU_INLINE void copy(const T* row, A* to, Change change) const {
        for (int64_t i = begin_; i < end_; i += kLanes<A>) {
            const int n = lanes_of(end_ - i, kLanes<A>);
            store_first(to + i, change(read_lanes(row + from_ + i - begin_, n), i), n);
        }
    }
    // Copies rows that are step[0] and step[1] elements apart, and splits them.
    template <class T>
    CONVGPU_INLINE const A* read(const T* x, const int64_t* step, int64_t planes, int64_t rows, A* copies,
                                 A* phases) const {
        if constexpr (sizeof(T) == sizeof(A)) {
            const bool together = (rows == 1 || step[1] == pitch_) && (planes == 1 || step[0] == rows * pitch_);
            if (stride_ > 1 && whole_row_ && together) return phases_of(x, phases);
        }
        A* to = copies;
        for (int64_t d = 0; d < planes; ++d) {
            for (int64_t h = 0; h < rows; ++h, to += pitch_) copy(x + d * step[0] + h * step[1], to);
        }
        return phases_of(copies, phases);
    }
    // Splits rows that follow each other.
    CONVGPU_INLINE const A* phases_of(const A* rows, A* phases) const {
        if (stride_ == 1) return rows;
        for (int64_t f = 0; f < used_; ++f) take_every(rows + f, stride_, phases + f * length_, rows_ * step());
        return phases;
    }

private:
    int64_t rows_, pitch_, begin_, end_, from_;
    bool whole_row_;
    int64_t length_, stride_ = 1, used_ = 1;  // of a phase; the phases that taps read
};

// The taps through which windows reach the pixels of one phase of a gradient: output j + shift of pixel j.
struct Reach {
    int64_t tap, shift;
};

// The pixels [begin, end) of a row of a gradient, by phase: pixel w is pixel (w + before) / stride - first of phase
// (w + before) % stride.
template <class A>
struct Merged {
    int64_t stride, first, count;  // pixels of a phase
    int64_t length;                // of a phase, with room for a vector that begins at the last pixel
    int64_t before;                // outputs before `first` that reach these pixels
    int64_t skipped;               // the pixels of the first round that lie before `begin`
    Merged(const PoolAxis& a, int64_t begin, int64_t end)
        : stride(a.stride),
          first((begin + a.before) / a.stride),
          count((end - 1 + a.before) / a.stride - first + 1),
          length(whole<A>(count) + kLanes<A>),
          before(outputs_before(a)),
          skipped((begin + a.before) % a.stride) {}
    // Rows of the outputs that reach the pixels.
    CONVGPU_INLINE RowCopies<A> outputs(const PoolAxis& a, int64_t rows) const {
        return RowCopies<A>(a.output, first - before, before + whole<A>(count + 1), rows);
    }
    static int64_t outputs_before(const PoolAxis& a) { return parts((a.window - 1) * a.dilation, a.stride); }
    // Upper bounds for `n` pixels: the elements of all phases, and the outputs.
    static int64_t elements_of(const PoolAxis& a, int64_t n) { return a.stride * (parts(n, a.stride) + 3 * kLanes<A>); }
    static int64_t outputs_of(const PoolAxis& a, int64_t n) {
        return outputs_before(a) + whole<A>(parts(n, a.stride) + 2);
    }
};

// Lists the taps of all phases, of each phase in ascending order of their outputs. begin[f] and begin[f + 1] say where
// those of phase f are.
CONVGPU_INLINE void list_taps(const PoolAxis& a, Reach* to, int64_t* begin) {
    int64_t count = 0;
    for (int64_t f = 0; f < a.stride; ++f) {
        begin[f] = count;
        for (int64_t s = a.window; s-- > 0;) {
            const int64_t distance = f - s * a.dilation;
            if (distance % a.stride == 0) to[count++] = {s, distance / a.stride};
        }
    }
    begin[a.stride] = count;
}

// Writes n pixels, of which the first lies in phase `row.skipped`. pixels(f, i) is a vector of phase f from its pixel
// i.
template <class T, class Pixels>
CONVGPU_INLINE void write_phases(const Merged<Accumulator<T>>& row, Accumulator<T>* phases, T* to, int64_t n,
                                 Pixels pixels) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    if (row.stride == 1) {
        for (int64_t i = 0; i < n; i += L) write_lanes(to + i, pixels(0, i), lanes_of(n - i, L));
        return;
    }
    if (row.stride == 2) {
        for (int64_t i = 0; i < n; i += 2 * L) {
            const Vector<A> even = pixels(row.skipped, i / 2), odd = pixels(1 - row.skipped, i / 2 + row.skipped);
            write_lanes(to + i, zipped<A, 0>(even, odd, EachLane<A>{}), lanes_of(n - i, L));
            if (n - i > L) {
                write_lanes(to + i + L, zipped<A, L / 2>(even, odd, EachLane<A>{}), lanes_of(n - i - L, L));
            }
        }
        return;
    }
    for (int64_t f = 0; f < row.stride; ++f) {
        for (int64_t i = 0; i < row.count; i += L) store(phases + f * row.length + i, pixels(f, i));
    }
    for (int64_t f = 0; f < row.stride; ++f) {
        const int64_t begin = f - row.skipped + (f < row.skipped ? row.stride : 0);
        const A* const phase = phases + f * row.length + (f < row.skipped);
        for (int64_t i = 0, w = begin; w < n; ++i, w += row.stride) to[w] = narrowed<T>(phase[i]);
    }
}

// Cuts the planes of `result` into tiles, of which each takes at most about kPlaneBytes of scratch memory, as
// bytes(boxes) tells.
constexpr int64_t kPlaneBytes = 64 << 10;

template <class Bytes>
CONVGPU_INLINE Boxes plane_boxes(const Images& result, Bytes bytes) {
    constexpr int64_t kTiles = 32, kMost = 16384;
    const int64_t size[kAxes] = {result.size[0], result.size[1], result.size[2]},
                  planes = result.batch * result.channels;
    int64_t most = kMost;
    Boxes boxes(planes, size, most);
    while (most > 1 && (bytes(boxes) > kPlaneBytes || (most > 1024 && boxes.count() < kTiles))) {
        boxes = Boxes(planes, size, most /= 2);
    }
    return boxes;
}

struct Plane {
    int64_t n, c;
    template <class T>
    CONVGPU_INLINE T* row(const Images& x, int64_t d, int64_t h, int64_t w) const {
        return x.at<T>(n, d, h, w, c);
    }
};

// Calls use(plane) for each plane of a tile.
template <class Use>
CONVGPU_INLINE void for_each_plane(const Images& result, const Box& box, Use use) {
    int64_t n = box.begin[0] / result.channels, c = box.begin[0] % result.channels;
    for (int64_t i = box.begin[0]; i < box.end[0]; ++i) {
        use(Plane{n, c});
        if (++c < result.channels) continue;
        c = 0;
        ++n;
    }
}

// The rows of outputs that a box of pixels reads, an upper bound.
CONVGPU_INLINE int64_t output_rows(const PoolAxis* axis, const Boxes& boxes) {
    int64_t count = 1;
    for (int a = 0; a < 2; ++a) {
        const int64_t reach = boxes.part(1 + a) + (axis[a].window - 1) * axis[a].dilation;
        count *= smaller(axis[a].output, reach / axis[a].stride + 2);
    }
    return count;
}

// For each row i of pixels of a box, calls begin(i), and then use(i, output, t, r) for each row of outputs whose
// windows hold it as row r of plane t. Rows of outputs are counted from the first that the box reads.
template <class Use, class Begin>
CONVGPU_INLINE void for_each_row_of_outputs(const PoolAxis* axis, const Box& box, Use use, Begin begin) {
    const Range os = outputs_of(axis[0], box.begin[1], box.end[1]), ps = outputs_of(axis[1], box.begin[2], box.end[2]);
    int64_t i = 0;
    for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
        const Range planes = covering(axis[0], d);
        for (int64_t h = box.begin[2]; h < box.end[2]; ++h, ++i) {
            const Range over = covering(axis[1], h);
            begin(i);
            for (int64_t o = planes.begin; o < planes.end; ++o) {
                const int64_t t = tap(axis[0], o, d);
                for (int64_t p = over.begin; p < over.end && t >= 0; ++p) {
                    const int64_t r = tap(axis[1], p, h);
                    if (r >= 0) use(i, (o - os.begin) * ps.count() + p - ps.begin, t, r);
                }
            }
        }
    }
}

// Memory of a tile, handed out in pieces that begin at cache lines.
class Room {
public:
    explicit Room(char* memory) : at_(memory) {}
    template <class E>
    CONVGPU_INLINE E* take(int64_t count) {
        E* const piece = reinterpret_cast<E*>(at_);
        at_ += bytes_of<E>(count);
        return piece;
    }
    template <class E>
    CONVGPU_INLINE static int64_t bytes_of(int64_t count) {
        return parts(count * static_cast<int64_t>(sizeof(E)), 64) * 64;
    }

private:
    char* at_;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
