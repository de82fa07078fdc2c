// Average pooling and its gradient, where rows of pixels are neighbours (channels_first).
//
// A thread owns some planes, or rows of a plane, of the result; vectors lie along the rows. Rows of a window are added
// first, then the columns of that row of sums; the gradient divides each row of gy, adds the rows whose windows hold a
// row of gx, then what each column of these gives.
// Layouts: channels_first; avg_pool.cpp has the others, and the windows that are too large.
// Taps outside the input are zeros that are added, or are skipped; nothing is multiplied with them.
// Order: rows, then columns, each in order.
#include "planes.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

// to[i] = the sum of base[rows[r] + i] over r, for i below n.
template <class T, int V>
CONVGPU_INLINE void add_columns(const T* base, const int64_t* rows, int64_t count, int64_t i, Accumulator<T>* to,
                                int lanes) {
    using A = Accumulator<T>;
    Vector<A> sum[V] = {};
    for (int64_t r = 0; r < count; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[v] += read_lanes(base + rows[r] + i + v * kLanes<A>, lanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store_first(to + i + v * kLanes<A>, sum[v], lanes);
}
template <class T>
CONVGPU_INLINE void add_rows(const T* base, const int64_t* rows, int64_t count, int64_t n, Accumulator<T>* to) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L) add_columns<T, 4>(base, rows, count, i, to, L);
    for (; i + L <= n; i += L) add_columns<T, 1>(base, rows, count, i, to, L);
    if (i < n) add_columns<T, 1>(base, rows, count, i, to, static_cast<int>(n - i));
}

template <class A>
CONVGPU_INLINE Vector<A> add_taps(const A* row, const int64_t* offsets, int64_t count) {
    Vector<A> sum{};
    for (int64_t s = 0; s < count; ++s) sum += load(row + offsets[s]);
    return sum;
}

template <class A>
CONVGPU_INLINE A add_run(const A* row, int64_t n) {
    Vector<A> sum{};
    int64_t i = 0;
    for (; i + kLanes<A> <= n; i += kLanes<A>) sum += load(row + i);
    if (i < n) sum += load_first(row + i, static_cast<int>(n - i));
    return sum_lanes<A>(sum);
}

template <class T>
class AveragePlanes {
    using A = Accumulator<T>;

public:
    explicit AveragePlanes(const PoolCall& call)
        : call_(call),
          axis_(call.axis),
          rows_(axis_[0].window * axis_[1].window),
          wide_(axis_[2].dilation == 1 && (axis_[2].window >= 2 * kLanes<A> || axis_[2].output == 1)),
          boxes_(plane_boxes(call.y, [&](const Boxes& boxes) { return bytes(boxes); })) {}

    bool suits() const {
        for (int a = 0; a < kAxes; ++a) {
            if (axis_[a].adaptive) return false;
        }
        return has_planes(call_.x) && has_planes(call_.y) && rows_ <= kBlock &&
               (axis_[2].window <= kBlock || (wide_ && axis_[2].window <= kBlock * kLanes<A>)) &&
               bytes(boxes_) <= 16 * kPlaneBytes;
    }

    void run() const {
        parallel_for(boxes_.count(), call_.work < 32768 ? 1 : call_.threads, bytes(boxes_),
                     [&](int64_t i, char* scratch) { tile(boxes_[i], scratch); });
    }

private:
    struct ResultRow {
        int64_t taps;  // rows of the window that lie inside
        int64_t y;     // where the row is, from the beginning of the plane
        A divisor;
    };

    int64_t bytes(const Boxes& boxes) const {
        const int64_t count = boxes.part(3), rows = boxes.part(1) * boxes.part(2);
        const RowCopies<A> copies(axis_[2], axis_[2].size, 0, count, rows);
        return Room::bytes_of<int64_t>(rows * rows_) + Room::bytes_of<ResultRow>(rows) +
               Room::bytes_of<int64_t>(axis_[2].window) + Room::bytes_of<A>(whole<A>(count)) +
               Room::bytes_of<A>(copies.copied()) + Room::bytes_of<A>(copies.split());
    }

    void tile(const Box& box, char* scratch) const {
        const int64_t q = box.begin[3], count = box.count(3), first = start(axis_[2], q);
        const int64_t results = box.count(1) * box.count(2);
        const Range read = pixels_of(axis_[2], q, box.end[3]);
        const RowCopies<A> copies(axis_[2], axis_[2].size, first, count, results);
        Room room(scratch);
        int64_t* const taps = room.take<int64_t>(results * rows_);
        ResultRow* const rows = room.take<ResultRow>(results);
        int64_t* const offsets = room.take<int64_t>(axis_[2].window);
        A* const divisors = room.take<A>(whole<A>(count));
        A* const sums = room.take<A>(copies.copied());
        A* const phases = room.take<A>(copies.split());
        for (int64_t s = 0; s < axis_[2].window; ++s) offsets[s] = copies.at(s * axis_[2].dilation);
        for (int64_t i = 0; i < whole<A>(count); ++i) {
            const int64_t at = q + smaller(i, count - 1);
            divisors[i] = static_cast<A>(divisor(axis_[2], at, call_.count_include_pad));
        }
        list_rows(box, rows, taps);
        copies.fill(0, sums);
        for_each_plane(call_.y, box, [&](const Plane& plane) {
            const T* const x = plane.row<const T>(call_.x, 0, 0, read.begin);
            const int64_t* from = taps;
            for (int64_t j = 0; j < results; from += rows[j++].taps) {
                add_rows(x, from, rows[j].taps, read.count(), sums + j * copies.pitch() + read.begin - first);
            }
            T* const y = plane.row<T>(call_.y, 0, 0, q);
            if (wide_) {
                for (int64_t j = 0; j < results; ++j) {
                    add_runs(sums + j * copies.pitch(), divisors, rows[j], q, read, y + rows[j].y, count);
                }
                return;
            }
            const A* const split = copies.phases_of(sums, phases);
            for (int64_t j = 0; j < results; ++j) {
                for (int64_t i = 0; i < count; i += kLanes<A>) {
                    const Vector<A> sum = add_taps(split + j * copies.step() + i, offsets, axis_[2].window);
                    write_lanes(y + rows[j].y + i, sum / (load(divisors + i) * rows[j].divisor),
                                lanes_of(count - i, kLanes<A>));
                }
            }
        });
    }

    void add_runs(const A* sums, const A* divisors, const ResultRow& row, int64_t q, Range read, T* y,
                  int64_t count) const {
        const int64_t first = start(axis_[2], q);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t at = start(axis_[2], q + i), begin = larger(at, read.begin);
            const int64_t end = smaller(at + axis_[2].window, read.end);
            y[i] = narrowed<T>(add_run(sums + begin - first, end - begin) / (divisors[i] * row.divisor));
        }
    }

    // The rows of results, and of each the rows of x that it reads, from the beginning of a plane.
    void list_rows(const Box& box, ResultRow* rows, int64_t* taps) const {
        for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
            const Range ts = inside(axis_[0], o);
            for (int64_t p = box.begin[2]; p < box.end[2]; ++p, ++rows) {
                const Range rs = inside(axis_[1], p);
                const int64_t all =
                    divisor(axis_[0], o, call_.count_include_pad) * divisor(axis_[1], p, call_.count_include_pad);
                *rows = {ts.count() * rs.count(), o * call_.y.step[0] + p * call_.y.step[1], static_cast<A>(all)};
                for (int64_t t = ts.begin; t < ts.end; ++t) {
                    for (int64_t r = rs.begin; r < rs.end; ++r) {
                        *taps++ = (start(axis_[0], o) + t * axis_[0].dilation) * call_.x.step[0] +
                                  (start(axis_[1], p) + r * axis_[1].dilation) * call_.x.step[1];
                    }
                }
            }
        }
    }

    const PoolCall& call_;
    const PoolAxis* const axis_;
    int64_t rows_;  // of a window
    bool wide_;     // each window has a vector of its own, not each of a vector's windows a lane
    Boxes boxes_;
};

template <class T>
class AverageGradientPlanes {
    using A = Accumulator<T>;

public:
    explicit AverageGradientPlanes(const PoolCall& call)
        : call_(call),
          axis_(call.axis),
          boxes_(plane_boxes(call.gx, [&](const Boxes& boxes) { return bytes(boxes); })) {}

    bool suits() const {
        for (int a = 0; a < kAxes; ++a) {
            if (axis_[a].adaptive) return false;
        }
        return has_planes(call_.gx) && has_planes(call_.gy) && axis_[0].window * axis_[1].window <= kBlock &&
               axis_[2].window <= kBlock && bytes(boxes_) <= 16 * kPlaneBytes;
    }

    void run() const {
        parallel_for(boxes_.count(), call_.work < 32768 ? 1 : call_.threads, bytes(boxes_),
                     [&](int64_t i, char* scratch) { tile(boxes_[i], scratch); });
    }

private:
    int64_t rows_of_window() const { return axis_[0].window * axis_[1].window; }
    int64_t bytes(const Boxes& boxes) const {
        const int64_t rows = boxes.part(1) * boxes.part(2), count = boxes.part(3);
        const int64_t outputs = Merged<A>::outputs_of(axis_[2], count);
        return Room::bytes_of<int64_t>(rows * rows_of_window()) + Room::bytes_of<int64_t>(rows) +
               Room::bytes_of<Reach>(axis_[2].window) + Room::bytes_of<int64_t>(axis_[2].stride + 1) +
               2 * Room::bytes_of<A>(outputs + kLanes<A>) + Room::bytes_of<A>(Merged<A>::elements_of(axis_[2], count)) +
               Room::bytes_of<A>(output_rows(axis_, boxes) * outputs + kLanes<A>);
    }

    void tile(const Box& box, char* scratch) const {
        const int64_t rows = box.count(1) * box.count(2);
        const Merged<A> row(axis_[2], box.begin[3], box.end[3]);
        const Range os = outputs_of(axis_[0], box.begin[1], box.end[1]);
        const Range ps = outputs_of(axis_[1], box.begin[2], box.end[2]);
        const RowCopies<A> outputs = row.outputs(axis_[2], os.count() * ps.count());
        Room room(scratch);
        int64_t* const lines = room.take<int64_t>(rows * rows_of_window());
        int64_t* const counts = room.take<int64_t>(rows);
        Reach* const taps = room.take<Reach>(axis_[2].window);
        int64_t* const begin = room.take<int64_t>(axis_[2].stride + 1);
        A* const divisors = room.take<A>(outputs.pitch() + kLanes<A>);
        A* const sums = room.take<A>(outputs.pitch());
        A* const phases = room.take<A>(Merged<A>::elements_of(axis_[2], box.count(3)));
        A* const shares = room.take<A>(0);
        list_taps(axis_[2], taps, begin);
        for (int64_t i = 0; i < outputs.pitch() + kLanes<A>; ++i) {
            const int64_t q = row.first - row.before + i;
            const bool there = q >= 0 && q < axis_[2].output;
            divisors[i] = there ? static_cast<A>(divisor(axis_[2], q, call_.count_include_pad)) : A(1);
        }
        int64_t* line = lines;
        for_each_row_of_outputs(
            axis_, box,
            [&](int64_t i, int64_t output, int64_t, int64_t) {
                counts[i] += 1;
                *line++ = output * outputs.pitch();
            },
            [&](int64_t i) { counts[i] = 0; });
        outputs.fill(0, shares);
        for_each_plane(call_.gx, box, [&](const Plane& plane) {
            share(plane, os, ps, outputs, divisors, shares);
            const int64_t* from = lines;
            int64_t i = 0;
            for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                for (int64_t h = box.begin[2]; h < box.end[2]; from += counts[i++], ++h) {
                    if (counts[i] != 1) add_rows<A>(shares, from, counts[i], outputs.pitch(), sums);
                    write_row(row, (counts[i] == 1 ? shares + from[0] : sums) + row.before, taps, begin, phases,
                              plane.row<T>(call_.gx, d, h, box.begin[3]), box.count(3));
                }
            }
        });
    }

    // Each row of gy, divided.
    void share(const Plane& plane, Range os, Range ps, const RowCopies<A>& outputs, const A* divisors, A* to) const {
        for (int64_t o = os.begin; o < os.end; ++o) {
            const int64_t planes = divisor(axis_[0], o, call_.count_include_pad);
            for (int64_t p = ps.begin; p < ps.end; ++p, to += outputs.pitch()) {
                const A all = static_cast<A>(planes * divisor(axis_[1], p, call_.count_include_pad));
                outputs.copy(plane.row<const T>(call_.gy, o, p, 0), to,
                             [&](Vector<A> g, int64_t i)
                                 __attribute__((always_inline)) { return g / (load(divisors + i) * all); });
            }
        }
    }

    void write_row(const Merged<A>& row, const A* from, const Reach* taps, const int64_t* begin, A* phases, T* gx,
                   int64_t n) const {
        write_phases(row, phases, gx, n, [&](int64_t f, int64_t i) __attribute__((always_inline)) {
            Vector<A> sum{};
            for (int64_t k = begin[f]; k < begin[f + 1]; ++k) sum += load(from + taps[k].shift + i);
            return sum;
        });
    }

    const PoolCall& call_;
    const PoolAxis* const axis_;
    Boxes boxes_;
};

}  // namespace

template <class T>
bool avg_pool_planes(const PoolCall& call) {
    const AveragePlanes<T> kernel(call);
    if (!kernel.suits()) return false;
    kernel.run();
    return true;
}
template <class T>
bool avg_pool_dgrad_planes(const PoolCall& call) {
    const AverageGradientPlanes<T> kernel(call);
    if (!kernel.suits()) return false;
    kernel.run();
    return true;
}

#define CONVGPU_PLANES(T)                              \
    template bool avg_pool_planes<T>(const PoolCall&); \
    template bool avg_pool_dgrad_planes<T>(const PoolCall&);
CONVGPU_PLANES(Half)
CONVGPU_PLANES(BFloat16)
CONVGPU_PLANES(float)
CONVGPU_PLANES(double)

}  // namespace convgpu::cpu::CONVGPU_ISA
